"""The rule language: YAML files of rules whose conditions are CEL expressions."""
