package provider

import "testing"

// fromTerraform reports whether the command at hand is Terraform 1.minor or later.
func fromTerraform(t *testing.T, minor int) bool {
	t.Helper()
	v := terraformVersion(t)
	return v.Product == "Terraform" && (v.Major > 1 || v.Minor >= minor)
}
