package provider

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

// Ylem has no idempotency key, but a pipeline that begins with an External trigger logs its input. So a key is written into
// the input, and a run that carries it is found in the log.

// keyPath is the attribute.
var keyPath = path.Root("idempotency_key")

// fingerprint hashes everything whose change starts a new run, so that under one key a changed trigger is another run.
func fingerprint(parts ...any) string {
	text, _ := json.Marshal(parts) // strings, numbers and maps of strings always encode
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// withKey adds a key to an input, as its first member. Everything else stays as it is, byte for byte.
func withKey(input []byte, key string) ([]byte, error) {
	if len(bytes.TrimSpace(input)) == 0 {
		input = []byte("{}")
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(input, &members) != nil || members == nil {
		return nil, errors.New("the key is added to the input, which must therefore be a JSON object")
	}
	if _, taken := members[follow.KeyMember]; taken {
		return nil, fmt.Errorf("the input has a member %q already", follow.KeyMember)
	}
	member, _ := json.Marshal(key) // a string always encodes
	added := fmt.Appendf(nil, "{%q:%s", follow.KeyMember, member)
	if len(members) > 0 {
		added = append(added, ',')
	}
	keyed := bytes.Replace(input, []byte("{"), added, 1)
	if len(keyed) > ylem.MaxInput {
		return nil, fmt.Errorf("with the key, the input has %d bytes, and Ylem can store %d", len(keyed), ylem.MaxInput)
	}
	return keyed, nil
}

// checkKey reports an input that cannot carry the key; unknown values are checked before the start.
func checkKey(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) {
	var key, input, inputWO types.String
	diags.Append(config.GetAttribute(ctx, keyPath, &key)...)
	diags.Append(config.GetAttribute(ctx, path.Root("input"), &input)...)
	diags.Append(config.GetAttribute(ctx, path.Root("input_wo"), &inputWO)...)
	if key.IsNull() || key.IsUnknown() || input.IsUnknown() || inputWO.IsUnknown() || diags.HasError() {
		return
	}
	s := newStartRequest(types.StringNull(), input, inputWO, types.BoolNull(), 0)
	s.setKey(key.ValueString(), fingerprint(), diags)
}

func refuseKey(err error, diags *diag.Diagnostics) {
	refuse(diags, keyPath, "The input cannot carry an idempotency key",
		"an input that is a JSON object without a member \""+follow.KeyMember+"\", such as jsonencode({ day = \"2024-01-31\" }), or none", err)
}

// setKey adds an idempotency key.
func (s *startRequest) setKey(key, fingerprint string, diags *diag.Diagnostics) {
	s.key = key + "/" + fingerprint
	keyed, err := withKey(s.input.Body, s.key)
	if err != nil { // it was not known when the configuration was validated
		refuseKey(err, diags)
	}
	s.input.Body = keyed
}

// claims are the starts with a key since the provider was configured.
type claims struct {
	mu     sync.Mutex
	starts map[string]*sharedStart // by pipeline and key
}

// sharedStart is a start that later ones with the same key share.
type sharedStart struct {
	done  chan struct{} // closed when run is there
	run   startedRun
	ok    bool
	diags diag.Diagnostics // of the start
}

// id is what two starts of the same run have in common.
func (s startRequest) id() string { return strings.ToLower(s.pipelineUUID) + " " + s.key }

// of returns the start with the request's key, and whether the caller is the first: then it must start the run.
func (c *claims) of(s startRequest) (shared *sharedStart, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if shared = c.starts[s.id()]; shared == nil {
		shared, first = &sharedStart{done: make(chan struct{})}, true
		if c.starts == nil {
			c.starts = map[string]*sharedStart{}
		}
		c.starts[s.id()] = shared
	}
	return shared, first
}

// refuseSecond refuses a second resource with the same pipeline, key and fingerprint: both would be the same run.
func (c *claims) refuseSecond(s startRequest, diags *diag.Diagnostics) bool {
	if s.key == "" {
		return true
	}
	if _, first := c.of(s); !first {
		diags.AddAttributeError(keyPath, "Two resources have the same idempotency key", fmt.Sprintf(
			"Another resource of this configuration runs pipeline %s with the same key, input and triggers: both would be one run. No run was started for this one. "+
				"Give each its own idempotency_key.", s.pipelineUUID))
		return false
	}
	return true
}

// startShared is start for an action, which may be triggered several times: all triggers with one key share a run.
func (a api) startShared(ctx context.Context, s startRequest, diags *diag.Diagnostics) (startedRun, bool) {
	if s.key == "" {
		return a.start(ctx, s, diags)
	}
	shared, first := a.claims.of(s)
	if first {
		shared.run, shared.ok = a.start(ctx, s, &shared.diags)
		diags.Append(shared.diags...)
		if !shared.ok && !shared.run.doubtful {
			a.claims.forget(s) // the next trigger may try again
		}
		close(shared.done)
		return shared.run, shared.ok
	}
	select {
	case <-shared.done:
	case <-ctx.Done():
		diags.AddError("Interrupted", "Interrupted while another trigger of this action was starting the run.")
		return startedRun{}, false
	}
	switch {
	case shared.run.doubtful:
		diags.Append(shared.diags...)
		return startedRun{}, false
	case !shared.ok:
		return a.startShared(ctx, s, diags)
	}
	return startedRun{Run: shared.run.Run, adopted: true}, true
}

func (c *claims) forget(s startRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.starts, s.id())
}
