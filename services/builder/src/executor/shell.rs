//! Which program runs a script, as GitHub chooses it. Pure.

/// How to run a script file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shell {
    /// The file's extension, with the dot.
    pub(crate) extension: &'static str,
    /// Program and arguments; the script's path is put in place of `{0}`.
    template: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the shell '{0}' is not known; name bash, sh, python, pwsh, or a command with {{0}} where the script's path belongs"
)]
pub(crate) struct UnknownShell(String);

impl Shell {
    /// `given` is the step's shell or that of `defaults`; `in_container` says that the job names its own image.
    pub(crate) fn choose(given: Option<&str>, in_container: bool) -> Result<Self, UnknownShell> {
        let words = |extension, text: &str| Self {
            extension,
            template: text.split_whitespace().map(str::to_owned).collect(),
        };
        match given.map(str::trim).filter(|shell| !shell.is_empty()) {
            None if in_container => Ok(words(".sh", "sh -e {0}")),
            // The image decides whether there is a bash; asking it first would be a round trip.
            None => Ok(Self {
                extension: ".sh",
                template: [
                    "sh",
                    "-c",
                    "command -v bash >/dev/null 2>&1 && exec bash -e \"$0\"; exec sh -e \"$0\"",
                    "{0}",
                ]
                .map(str::to_owned)
                .to_vec(),
            }),
            Some("bash") => Ok(words(".sh", "bash --noprofile --norc -e -o pipefail {0}")),
            Some("sh") => Ok(words(".sh", "sh -e {0}")),
            Some("python") => Ok(words(".py", "python {0}")),
            Some("pwsh") => Ok(Self {
                extension: ".ps1",
                template: ["pwsh", "-command", ". '{0}'"].map(str::to_owned).to_vec(),
            }),
            Some(custom) if custom.contains("{0}") => Ok(words("", custom)),
            Some(other) => Err(UnknownShell(other.to_owned())),
        }
    }

    /// The command line for a script.
    pub(crate) fn command(&self, script: &str) -> Vec<String> {
        self.template.iter().map(|word| word.replace("{0}", script)).collect()
    }
}

/// A script as it is written to its file.
pub(crate) fn content(shell: &Shell, script: &str) -> String {
    let script = script.replace("\r\n", "\n");
    match shell.extension {
        // PowerShell goes on after an error unless told not to, and hides the exit code of the last program.
        ".ps1" => format!(
            "$ErrorActionPreference = 'stop'\n{script}\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) {{ exit $LASTEXITCODE }}\n"
        ),
        _ => script,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(given: Option<&str>, in_container: bool) -> String {
        Shell::choose(given, in_container).expect("known").command("/t/x.sh").join(" ")
    }

    #[test]
    fn shells_are_those_of_github() {
        assert_eq!(line(Some("bash"), false), "bash --noprofile --norc -e -o pipefail /t/x.sh");
        assert_eq!(line(Some("sh"), false), "sh -e /t/x.sh");
        assert_eq!(line(None, true), "sh -e /t/x.sh");
        assert!(line(None, false).contains("exec bash -e \"$0\"") && line(None, false).ends_with(" /t/x.sh"));
        assert_eq!(line(Some("perl {0}"), false), "perl /t/x.sh");
        assert_eq!(line(Some("pwsh"), false), "pwsh -command . '/t/x.sh'");
        assert!(Shell::choose(Some("fish"), false).is_err());
    }
}
