package provider

import (
	"fmt"
	"os/exec"
	"testing"
)

// fromTerraform reports whether the command at hand is Terraform 1.minor or later.
func fromTerraform(t *testing.T, minor int) bool {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), terraformPath(), "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var major, own int
	if _, err := fmt.Sscanf(string(text), "Terraform v%d.%d", &major, &own); err != nil {
		return false // OpenTofu
	}
	return major > 1 || own >= minor
}
