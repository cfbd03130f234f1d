//! An authority for tests, and a server's certificate that it signed, by `openssl`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The authority's certificate, in the folder.
pub(crate) const CA: &str = "ca.crt";
/// The server's certificate.
pub(crate) const SERVER: &str = "server.crt";
/// The server's key.
pub(crate) const SERVER_KEY: &str = "server.key";

/// Makes them in a folder. The server's is for this address, for 127.0.0.1 and for `localhost`.
pub(crate) fn make(folder: &Path, address: &str) {
    // The file is the test's own, because machines differ in their extensions.
    let rules = format!(
        "[req]\nprompt = no\ndistinguished_name = name\n[name]\nCN = test\n\
         [ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
         [server]\nbasicConstraints = critical, CA:FALSE\nextendedKeyUsage = serverAuth\n\
         subjectAltName = DNS:localhost, IP:127.0.0.1, IP:{address}\n"
    );
    fs::write(folder.join("rules.cnf"), rules).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config rules.cnf";
    openssl(
        folder,
        &format!(
            "req -x509 {key} -extensions ca -subj /CN=authority -days 2 -keyout ca.key -out {CA}"
        ),
    );
    openssl(
        folder,
        &format!("req {key} -subj /CN=server -keyout {SERVER_KEY} -out server.csr"),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in server.csr -CA {CA} -CAkey ca.key -CAcreateserial -days 2 \
             -extfile rules.cnf -extensions server -out {SERVER}"
        ),
    );
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command
        .args(arguments.split_whitespace())
        .current_dir(folder);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("openssl: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {said}");
}
