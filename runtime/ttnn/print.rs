//! Prints calls as Python source.
//!
//! Literals follow Python's rules, lines break at 100 columns with one argument a line, so that what [`crate::call`] executes can be read
//! and run elsewhere.

use std::fmt::{self, Write as _};

use crate::call::{Expr, PyCall, Statement};

/// Columns of printed source.
const WIDTH: usize = 100;
const STEP: usize = 4;

impl Statement {
    /// The statement as Python source, indented by `indent` columns, without a final newline.
    pub fn to_python(&self, indent: usize) -> String {
        let targets = if self.targets.is_empty() { String::new() } else { format!("{} = ", self.targets.join(", ")) };
        let pad = " ".repeat(indent);
        let line = format!("{pad}{targets}{}", self.call);
        if line.chars().count() <= WIDTH {
            return line;
        }
        let mut out = format!("{pad}{targets}");
        self.call.write_broken(&mut out, indent);
        out
    }
}

impl PyCall {
    /// One argument a line; an argument that is still too long is broken in turn.
    fn write_broken(&self, out: &mut String, indent: usize) {
        let inner = indent + STEP;
        let pad = " ".repeat(inner);
        out.push_str(&self.name());
        out.push_str("(\n");
        let named = self.kwargs.iter().map(|(name, value)| (format!("{name}="), value));
        for (prefix, value) in self.args.iter().map(|value| (String::new(), value)).chain(named) {
            out.push_str(&pad);
            out.push_str(&prefix);
            let flat = value.to_string();
            match value {
                Expr::Call(call) if inner + prefix.len() + flat.chars().count() + 1 > WIDTH => {
                    call.write_broken(out, inner)
                }
                Expr::Call(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Name(_) | Expr::Path(_) => out.push_str(&flat),
                Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) | Expr::Str(_) => out.push_str(&flat),
            }
            out.push_str(",\n");
        }
        out.push_str(&" ".repeat(indent));
        out.push(')');
    }
}

impl fmt::Display for PyCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        let mut separator = "";
        for arg in &self.args {
            write!(f, "{separator}{arg}")?;
            separator = ", ";
        }
        for (name, value) in &self.kwargs {
            write!(f, "{separator}{name}={value}")?;
            separator = ", ";
        }
        f.write_str(")")
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::None => f.write_str("None"),
            Expr::Bool(true) => f.write_str("True"),
            Expr::Bool(false) => f.write_str("False"),
            Expr::Int(v) => write!(f, "{v}"),
            Expr::Float(v) => write_float(f, *v),
            Expr::Str(v) => write_str(f, v),
            Expr::List(items) => {
                f.write_str("[")?;
                write_items(f, items)?;
                f.write_str("]")
            }
            Expr::Tuple(items) => {
                f.write_str("(")?;
                write_items(f, items)?;
                f.write_str(if items.len() == 1 { ",)" } else { ")" })
            }
            Expr::Name(name) => f.write_str(name),
            Expr::Path(path) => write!(f, "ttnn.{path}"),
            Expr::Call(call) => call.fmt(f),
        }
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, items: &[Expr]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(i, item)| write!(f, "{}{item}", if i > 0 { ", " } else { "" }))
}

/// Rust's shortest form that reads back the same is a Python literal too, except for what is no number.
fn write_float(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        f.write_str("float(\"nan\")")
    } else if value.is_infinite() {
        write!(f, "float(\"{}inf\")", if value < 0.0 { "-" } else { "" })
    } else {
        write!(f, "{value:?}")
    }
}

fn write_str(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            c if c.is_control() => write!(f, "\\U{:08x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear() -> Statement {
        let program = PyCall::ttnn("MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig")
            .kwarg("in0_block_w", 10)
            .kwarg("per_core_M", 1)
            .kwarg("per_core_N", 4)
            .kwarg("fused_activation", Expr::None);
        let call = PyCall::ttnn("linear")
            .arg(Expr::name("h"))
            .arg(Expr::name("w"))
            .kwarg("program_config", program)
            .kwarg("memory_config", Expr::ttnn("L1_WIDTH_SHARDED_MEMORY_CONFIG"))
            .maybe("dtype", Some(Expr::ttnn("bfloat16")))
            .maybe("bias", None::<Expr>);
        Statement::new(["qkv"], call)
    }

    #[test]
    fn a_long_call_has_one_argument_a_line() {
        let expected = "    qkv = ttnn.linear(\n        h,\n        w,\n        program_config=ttnn.MatmulMultiCoreReuseMultiCastDRAMShardedProgramConfig(\n            in0_block_w=10,\n            per_core_M=1,\n            per_core_N=4,\n            fused_activation=None,\n        ),\n        memory_config=ttnn.L1_WIDTH_SHARDED_MEMORY_CONFIG,\n        dtype=ttnn.bfloat16,\n    )";
        assert_eq!(linear().to_python(4), expected);
    }

    #[test]
    fn short_statements_stay_on_a_line() {
        let call = PyCall::ttnn("experimental.split").arg(Expr::name("x")).arg(Expr::ints([1, 2])).kwarg("dim", 3);
        assert_eq!(Statement::new(["q", "k"], call).to_python(0), "q, k = ttnn.experimental.split(x, [1, 2], dim=3)");
        let free = Statement::new([""; 0], PyCall::ttnn("deallocate").arg(Expr::name("x")));
        assert_eq!(free.to_python(2), "  ttnn.deallocate(x)");
    }

    #[test]
    fn literals_are_pythons() {
        let cases: [(Expr, &str); 10] = [
            (Expr::Float(1e-5), "1e-5"),
            (Expr::Float(0.08838834764831845), "0.08838834764831845"),
            (Expr::Float(1.0), "1.0"),
            (Expr::Float(f64::NEG_INFINITY), "float(\"-inf\")"),
            (Expr::Float(f64::NAN), "float(\"nan\")"),
            (Expr::Bool(true), "True"),
            (Expr::Tuple(vec![Expr::Int(-1)]), "(-1,)"),
            (Expr::Tuple(vec![Expr::Int(8), Expr::None]), "(8, None)"),
            (Expr::Str("a \"b\"\\\n\u{7}é".into()), "\"a \\\"b\\\"\\\\\\n\\U00000007é\""),
            (Expr::List(vec![]), "[]"),
        ];
        for (expr, text) in cases {
            assert_eq!(expr.to_string(), text);
        }
    }
}
