//! A value that many tasks read and that is replaced as a whole: what a reload changes.
//!
//! Reading takes one lock that nobody holds for longer than it takes to count a reference, so it never waits for a reload to be prepared,
//! and whoever has read goes on with what it read, however often that is replaced meanwhile.

use std::sync::{Arc, PoisonError, RwLock};

/// The value in force.
#[derive(Debug, Default)]
pub struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    /// Puts `value` in force.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value in force now.
    pub fn get(&self) -> Arc<T> {
        // Nothing can panic while it holds the lock.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `value` in force from now on.
    pub fn set(&self, value: T) {
        let value = Arc::new(value);
        let old = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value);
        // Whatever it takes to drop the old one, nobody waits for it.
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_keeps_what_it_read() {
        let swap = Swap::new(1);
        let old = swap.get();
        swap.set(2);
        assert_eq!((*old, *swap.get()), (1, 2));
    }
}
