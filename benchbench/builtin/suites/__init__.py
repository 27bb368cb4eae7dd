"""Built-in suites: TOML files beside this module; `benchbench.suite` describes the schema."""
