//! Setup against made-up machines; the real one is made by the tests that need TT-NN.

use super::*;
use crate::test_script::script;

const LATEST: &str = TtnnRelease::latest().version;

struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("bin")).unwrap();
        Machine { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn program(&self, name: &str, body: &str) {
        script(&self.path("bin").join(name), body);
    }

    /// A Python 3.12 that makes "virtual environments" of itself and "installs" whatever version pip is asked for.
    fn python(&self) {
        let (root, bin) = (self.root.path().display(), self.path("bin").display().to_string());
        std::fs::write(self.path("bin/libpython.so"), "").unwrap();
        self.program(
            "python3.12",
            &format!(
                r#"echo "$@" >> {root}/log
case "$1 $2" in
"-m venv") mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo > "$4/pyvenv.cfg"; exit;;
"-m ensurepip") rm {root}/nopip; exit;;
"-m pip") test -e {root}/nopip && {{ echo "No module named pip" >&2; exit 1; }}; test "$3" = --version && exit; for last; do :; done; test -e {root}/offline && {{ echo "no network" >&2; exit 1; }}; echo "\"${{last#ttnn==}}\"" > {root}/ttnn; exit;;
esac
echo '{{"version":[3,12],"site_packages":"{root}/site","ttnn":'$(cat {root}/ttnn 2>/dev/null || echo null)',"has_venv":true,"library_directories":["{bin}"],"library_names":["libpython.so"]}}'"#
            ),
        );
    }

    fn binutils(&self) {
        self.program(ASSEMBLER, r#"for last; do :; done; echo object > "$last""#);
        self.program(LINKER, "");
    }

    fn setup(&self) -> Setup {
        let path = vec![self.path("bin")];
        Setup {
            directory: self.path("env"),
            version: LATEST.into(),
            places: Places { path: path.clone(), ..Places::default() },
            path,
            superuser: true,
            system_compiler: self.path("opt/compiler"),
        }
    }

    fn run(&self) -> Result<Outcome, SetupError> {
        self.setup().run(&mut |_| {})
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

#[test]
fn everything_is_made_once() {
    let machine = Machine::new();
    machine.python();
    machine.binutils();
    let first = machine.run().unwrap();
    assert_eq!(first.done.len(), 3, "{:?}", first.done);
    let bin = machine.path("site/ttnn/runtime/sfpi/compiler/bin");
    assert!(is_stand_in(&bin.join(COMPILER)));
    assert_eq!(std::fs::read_to_string(bin.join("kernel.o")).unwrap(), "object\n");
    let calls = machine.log().lines().filter(|line| line.starts_with("-m")).count();
    assert!(machine.run().unwrap().done.is_empty());
    assert_eq!(machine.log().lines().filter(|line| line.starts_with("-m")).count(), calls);
}

#[test]
fn another_release_is_replaced_and_an_old_stand_in_renewed() {
    let machine = Machine::new();
    machine.python();
    machine.binutils();
    machine.run().unwrap();
    std::fs::write(machine.path("ttnn"), "\"0.70.1\"").unwrap();
    let script = machine.path("site/ttnn/runtime/sfpi/compiler/bin").join(COMPILER);
    std::fs::write(&script, format!("#!/bin/sh\n{MARK} (an earlier one)\n")).unwrap();
    let again = machine.run().unwrap();
    assert_eq!((again.done.len(), again.env.ttnn.as_str()), (2, LATEST));
    assert_eq!(std::fs::read_to_string(script).unwrap(), STAND_IN);
}

#[test]
fn a_release_that_no_plan_is_made_for_can_be_installed_too() {
    let machine = Machine::new();
    machine.python();
    machine.binutils();
    let other = || Setup { version: "0.70.1".into(), ..machine.setup() }.run(&mut |_| {}).unwrap();
    assert_eq!(other().env.ttnn, "0.70.1");
    assert!(other().done.is_empty());
}

#[test]
fn a_real_compiler_is_left_alone() {
    let machine = Machine::new();
    machine.python();
    let bin = machine.path("site/ttnn/runtime/sfpi/compiler/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join(COMPILER), "\x7fELF real").unwrap();
    machine.run().unwrap();
    assert_eq!(std::fs::read_to_string(bin.join(COMPILER)).unwrap(), "\x7fELF real");
}

#[test]
fn missing_binutils_are_installed_after_fetching_package_lists() {
    let machine = Machine::new();
    machine.python();
    let bin = machine.path("bin");
    machine.program(
        "apt-get",
        &format!(
            r#"echo "$@" >> {root}/apt
case $1 in
update) touch {root}/lists;;
install) test -e {root}/lists || {{ echo "E: Unable to locate package" >&2; exit 100; }}
  printf '#!/bin/sh\nfor last; do :; done; echo object > "$last"\n' > {bin}/{ASSEMBLER}; cp {bin}/{ASSEMBLER} {bin}/{LINKER}; chmod +x {bin}/riscv*;;
esac"#,
            root = machine.root.path().display(),
            bin = bin.display()
        ),
    );
    let outcome = machine.run().unwrap();
    assert!(outcome.done.iter().any(|line| line.contains(BINUTILS_PACKAGE)));
    let calls = std::fs::read_to_string(machine.path("apt")).unwrap();
    assert_eq!(
        calls.lines().map(|l| l.split(' ').next().unwrap()).collect::<Vec<_>>(),
        ["install", "update", "install"]
    );
}

#[test]
fn without_apt_or_sudo_the_error_names_the_package() {
    let machine = Machine::new();
    machine.python();
    let error = machine.run().unwrap_err().to_string();
    assert!(error.contains("there is no apt-get") && error.contains(BINUTILS_PACKAGE), "{error}");
    machine.program("apt-get", "exit 1");
    let setup = Setup { superuser: false, ..machine.setup() };
    let error = setup.run(&mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("no sudo"), "{error}");
}

#[test]
fn a_directory_of_something_else_is_never_cleared() {
    let machine = Machine::new();
    machine.python();
    std::fs::create_dir_all(machine.path("env")).unwrap();
    std::fs::write(machine.path("env/thesis.tex"), "years of work").unwrap();
    assert!(matches!(machine.run().unwrap_err(), SetupError::NotAVenv { .. }));
    assert!(machine.path("env/thesis.tex").exists());
}

#[test]
fn pips_last_words_are_in_the_error_and_the_next_run_goes_on() {
    let machine = Machine::new();
    machine.python();
    machine.binutils();
    std::fs::write(machine.path("offline"), "").unwrap();
    let error = machine.run().unwrap_err().to_string();
    assert!(error.contains("installing TT-NN failed") && error.contains("no network"), "{error}");
    std::fs::remove_file(machine.path("offline")).unwrap();
    let outcome = machine.run().unwrap();
    assert!(outcome.done[0].starts_with("installed ttnn"), "{:?}", outcome.done);
}

#[test]
fn an_environment_without_pip_gets_it() {
    let machine = Machine::new();
    machine.python();
    machine.binutils();
    machine.run().unwrap();
    // As an interrupted run leaves it: the interpreter is there, pip is not yet.
    std::fs::remove_file(machine.path("ttnn")).unwrap();
    std::fs::write(machine.path("nopip"), "").unwrap();
    let outcome = machine.run().unwrap();
    assert_eq!(outcome.done, ["installed pip".to_string(), format!("installed ttnn {LATEST}")]);
}

#[test]
fn an_environment_of_another_python_is_never_cleared() {
    let machine = Machine::new();
    machine.python();
    script(
        &machine.path("env/bin/python"),
        r#"echo '{"version":[3,11],"site_packages":"/","ttnn":null,"has_venv":true,"library_directories":[],"library_names":[]}'"#,
    );
    std::fs::write(machine.path("env/pyvenv.cfg"), "").unwrap();
    let error = machine.run().unwrap_err().to_string();
    assert!(error.contains("is Python 3.11") && error.contains("--dir"), "{error}");
    assert!(machine.path("env/pyvenv.cfg").exists() && machine.log().is_empty());
}

#[test]
fn no_python_at_all_says_how_to_get_one() {
    let error = Machine::new().run().unwrap_err().to_string();
    assert!(error.contains("uv python install") && error.contains("--python"), "{error}");
}

#[test]
fn the_default_directory_is_the_checkouts() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.path("repository/.git")).unwrap();
    std::fs::create_dir_all(machine.path("repository/src")).unwrap();
    assert_eq!(default_directory(&machine.path("repository/src")), machine.path("repository").join(VENV));
}
