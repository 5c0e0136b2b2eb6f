//! How an op is declared: `op!`, one use of it in each op's file.
//!
//! ```text
//! op! {
//!     /// Documentation of the arguments' struct.
//!     CacheFill = "experimental.paged_fill_cache" -> 0 {
//!         /// Documentation of the field.
//!         cache: Ref [writes Cache],
//!         input: Ref [reads PromptRows],
//!         pages: Ref [reads ChunkPages],
//!     }
//! }
//! ```
//!
//! The first line gives the name of the struct, the call's path below `ttnn` (or the field whose value tells it), and the number of tensors
//! the call returns.
//! The fields follow. An operand says in brackets what becomes of it ([`Access`](super::Access): `reads`, `writes`, `renames` or `frees`;
//! `writes ... if method` where it depends on the other arguments) and its [`Role`](super::Role). Any other field is understood by its type.

use super::argument::{Slot, Visit};

/// Answers of one op's arguments that every op has; `op!` implements it.
pub(super) trait Declaration {
    /// The call's path below `ttnn`.
    fn call(&self) -> &'static str;
    /// Tensors that the call returns when it does not write into an operand instead.
    fn results(&self) -> usize;
    /// Shows every argument, operands in the order in which [`crate::ttnn::check`] takes them.
    fn arguments<'a>(&'a self, visit: &mut Visit<'_, 'a>);
    /// Shows every part that may be changed, operands in the same order.
    fn slots<'a>(&'a mut self, visit: &mut dyn FnMut(Slot<'a>));
}

/// Declares the arguments of one call, as the module's documentation describes.
macro_rules! op {
    (
        $(#[$doc:meta])*
        $name:ident = $call:tt -> $results:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty $([$($use:tt)+])?,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::op::declare::Declaration for $name {
            fn call(&self) -> &'static str {
                $crate::op::declare::call!(self, $call)
            }

            fn results(&self) -> usize {
                $results
            }

            fn arguments<'a>(&'a self, visit: &mut $crate::op::argument::Visit<'_, 'a>) {
                $($crate::op::declare::argument!(self, visit, $field $([$($use)+])?);)*
            }

            fn slots<'a>(&'a mut self, visit: &mut dyn FnMut($crate::op::argument::Slot<'a>)) {
                $($crate::op::argument::Field::slots(&mut self.$field, visit);)*
            }
        }
    };
}

/// The name of a call, or of the one that a field tells.
macro_rules! call {
    ($args:ident, $call:literal) => {
        $call
    };
    ($args:ident, $field:ident) => {
        $args.$field.call()
    };
}

/// Shows one field.
macro_rules! argument {
    ($args:ident, $visit:ident, $field:ident) => {
        $crate::op::argument::Plain::visit(&$args.$field, stringify!($field), $visit)
    };
    ($args:ident, $visit:ident, $field:ident [reads $role:ident]) => {
        $crate::op::declare::argument!(operand $args, $visit, $field, $role, $crate::op::Access::Read)
    };
    ($args:ident, $visit:ident, $field:ident [writes $role:ident]) => {
        $crate::op::declare::argument!(operand $args, $visit, $field, $role, $crate::op::Access::Write)
    };
    ($args:ident, $visit:ident, $field:ident [writes $role:ident if $condition:ident]) => {{
        let access = if $args.$condition() { $crate::op::Access::Write } else { $crate::op::Access::Read };
        $crate::op::declare::argument!(operand $args, $visit, $field, $role, access)
    }};
    ($args:ident, $visit:ident, $field:ident [renames $role:ident]) => {
        $crate::op::declare::argument!(operand $args, $visit, $field, $role, $crate::op::Access::Rename)
    };
    ($args:ident, $visit:ident, $field:ident [frees $role:ident]) => {
        $crate::op::declare::argument!(operand $args, $visit, $field, $role, $crate::op::Access::Free)
    };
    (operand $args:ident, $visit:ident, $field:ident, $role:ident, $access:expr) => {
        $crate::op::argument::Operands::visit(
            &$args.$field,
            stringify!($field),
            $crate::op::Role::$role,
            $access,
            $visit,
        )
    };
}

pub(super) use {argument, call, op};
