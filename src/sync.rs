//! The locks, the atomics and the map that the hub and the engines share state by, named in one place so that a model checker can put its own
//! under the same code: with the feature `model`, the unit tests named `model` run on shuttle's (and no other tests can).

#[cfg(not(all(test, feature = "model")))]
mod parts {
    pub(crate) mod dashmap {
        pub(crate) use ::dashmap::{DashMap, mapref};
    }
    pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
}

#[cfg(all(test, feature = "model"))]
mod parts {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
    pub(crate) use shuttle_dashmap_impl as dashmap;
}

pub(crate) use parts::*;

#[cfg(test)]
#[cfg(feature = "model")]
pub(crate) mod explore;
