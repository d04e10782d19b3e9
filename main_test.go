package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// asProvider is a variable that makes the test's binary the provider's.
const asProvider = "YLEM_TEST_AS_PROVIDER"

func TestMain(m *testing.M) {
	if os.Getenv(asProvider) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The provider writes only the lines of its log that Terraform shows.
func TestLogIsLimited(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  []string
		want bool // a line of the framework, at the level trace
	}{
		"off":                  {nil, false},
		"TF_LOG":               {[]string{"TF_LOG=TRACE"}, true},
		"TF_LOG, less":         {[]string{"TF_LOG=INFO"}, false},
		"TF_LOG as JSON":       {[]string{"TF_LOG=JSON"}, true},
		"TF_LOG, json":         {[]string{"TF_LOG=json"}, true},
		"TF_LOG_PROVIDER":      {[]string{"TF_LOG_PROVIDER=TRACE"}, true},
		"TF_LOG_PROVIDER wins": {[]string{"TF_LOG_PROVIDER=WARN", "TF_LOG=TRACE"}, false},
		"TF_LOG_SDK wins":      {[]string{"TF_LOG_SDK=TRACE", "TF_LOG=ERROR"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if log := logOfASchema(t, test.env); strings.Contains(log, `"@level":"trace"`) != test.want {
				t.Errorf("trace is logged: %t, want %t\n%s", !test.want, test.want, log)
			}
		})
	}
}

// logOfASchema starts the provider, asks it for its schema, and returns what it has logged.
func logOfASchema(t *testing.T, env []string) string {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	provider := exec.CommandContext(t.Context(), executable, "-debug")
	provider.Env = append([]string{asProvider + "=1", "TMPDIR=" + os.TempDir(), "TEMP=" + os.TempDir(), "SystemRoot=" + os.Getenv("SystemRoot")}, env...)
	var log bytes.Buffer
	provider.Stderr = &log
	output, err := provider.StdoutPipe()
	if err == nil {
		err = provider.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	address := reattachAddress(output)
	if address == nil {
		t.Error("the provider does not say how to attach to it")
	} else {
		askForSchema(t, address)
	}
	// Lines are written before the answer, which is here.
	_ = provider.Process.Kill()
	_, _ = io.Copy(io.Discard, output)
	_ = provider.Wait()
	return log.String()
}

type address struct{ Network, String string }

func reattachAddress(output io.Reader) *address {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if _, value, ok := strings.Cut(lines.Text(), "TF_REATTACH_PROVIDERS="); ok {
			var providers map[string]struct{ Addr *address }
			if err := json.Unmarshal([]byte(strings.Trim(value, "'")), &providers); err != nil {
				return nil
			}
			for _, p := range providers {
				return p.Addr
			}
		}
	}
	return nil
}

func askForSchema(t *testing.T, a *address) {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///ylem", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, a.Network, a.String)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	message := func(name protoreflect.FullName) proto.Message {
		typ, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return typ.New().Interface()
	}
	if err := connection.Invoke(t.Context(), "/tfplugin6.Provider/GetProviderSchema", message("tfplugin6.GetProviderSchema.Request"),
		message("tfplugin6.GetProviderSchema.Response"), grpc.MaxCallRecvMsgSize(64<<20)); err != nil {
		t.Error(err)
	}
}
