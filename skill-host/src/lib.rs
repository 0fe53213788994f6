//! Signed skill bundles and the sandbox that runs them.
