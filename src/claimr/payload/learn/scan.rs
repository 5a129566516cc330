//! The members of an event, each with its path.

use crate::{
    claimr::payload::json::{Node, Value},
    config::mapping::Path,
};

/// Members of one event that are looked at.
const LEAVES_MAX: usize = 512;

/// An object, taken apart.
pub(super) struct Scan<'t, 'a> {
    pub(super) node: &'t Node<'a>,
    pub(super) leaves: Vec<Leaf<'t, 'a>>,
    /// Every list with its path and elements.
    pub(super) lists: Vec<(Vec<&'t str>, &'t Node<'a>, &'t [Node<'a>])>,
}

/// A member that holds no other.
pub(super) struct Leaf<'t, 'a> {
    pub(super) path: Vec<&'t str>,
    pub(super) node: &'t Node<'a>,
}

impl<'t, 'a> Scan<'t, 'a> {
    /// Takes `node` apart, but for what is, or is a list that has, `except`.
    pub(super) fn of(node: &'t Node<'a>, except: Option<&Node<'_>>) -> Self {
        let mut scan = Self { node, leaves: Vec::new(), lists: Vec::new() };
        let mut todo = vec![(Vec::new(), node)];
        while let Some((path, node)) = todo.pop() {
            if except.is_some_and(|except| holds(node, except)) || scan.leaves.len() >= LEAVES_MAX {
                continue;
            }
            match &node.value {
                Value::Object(object) => {
                    let before = todo.len();
                    for (key, value) in object.iter() {
                        let path: Vec<&str> = path.iter().copied().chain([key]).collect();
                        // A key with a dot in it, say, cannot be named.
                        if Path::from(path.join(".")).segments().iter().map(AsRef::as_ref).eq(path.iter().copied()) {
                            todo.push((path, value));
                        }
                    }
                    // The last of `todo` is next.
                    todo[before..].reverse();
                }
                Value::List(items) => scan.lists.push((path, node, items)),
                _ => scan.leaves.push(Leaf { path, node }),
            }
        }
        scan
    }
}

/// Whether `node` is `inner`, or a list that has it.
pub(super) fn holds(node: &Node<'_>, inner: &Node<'_>) -> bool {
    is_same(node, inner) || matches!(&node.value, Value::List(items) if items.iter().any(|item| is_same(item, inner)))
}

/// Whether they are the same piece of a text.
pub(super) fn is_same(a: &Node<'_>, b: &Node<'_>) -> bool {
    std::ptr::eq(a.raw, b.raw)
}
