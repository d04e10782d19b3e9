package terraformcli

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Module is the module's import path, which is also that of the provider's binary.
const Module = "github.com/ylem-co/terraform-provider-ylem"

// Build builds a package, the provider unless another is meant, for the folder to be named in DevOverrides, and returns
// the binary. flags are those of go build.
func Build(ctx context.Context, dir, pkg string, flags ...string) (binary string, err error) {
	binary = Executable(filepath.Join(dir, "terraform-provider-ylem"))
	return binary, BuildAs(ctx, binary, pkg, flags...)
}

// BuildAs is Build for a binary with another name.
func BuildAs(ctx context.Context, binary, pkg string, flags ...string) error {
	// Without -buildvcs=false, a checkout that git does not trust, as of another user, cannot be built.
	args := append([]string{"build", "-buildvcs=false"}, flags...)
	_, err := output(ctx, "", os.Environ(), "go", append(args, "-o", binary, pkg)...)
	return err
}

// Executable is the file name of a program on this system.
func Executable(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

// ModuleRoot is the folder of the checkout, wherever in it the caller was started.
func ModuleRoot(ctx context.Context) (string, error) {
	stdout, err := output(ctx, "", os.Environ(), "go", "list", "-m", "-f", "{{.Dir}}", Module)
	return strings.TrimSpace(stdout), err
}
