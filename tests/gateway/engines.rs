//! One suite that every engine has to pass.
