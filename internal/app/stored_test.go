package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// S26: an address in a request is the provider's to fetch, or a refusal. The gateway opens none, whichever format comes in and goes out.
func TestAddressesAreNotFetched(t *testing.T) {
	r := newRig(t, "")
	trap := trap(t)
	passed := 0
	for _, up := range upstreams {
		for _, file := range []string{"/a.png", "/a.pdf", "/redirect"} {
			at := trap + file
			for path, body := range map[string]string{
				"/v1/chat/completions": `{"model":"%s/echo","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":%q}}]}]}`,
				"/v1/responses":        `{"model":"%s/echo","input":[{"role":"user","content":[{"type":"input_image","image_url":%q},{"type":"input_file","file_url":%[2]q}]}]}`,
				"/v1/messages":         `{"model":"%s/echo","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":%q}},{"type":"document","source":{"type":"url","url":%[2]q}}]}]}`,
				"/v1beta/models/" + up + "/echo:generateContent": `{"contents":[{"role":"user","parts":[{"fileData":{"mimeType":"image/png","fileUri":%[2]q}}]}],"labels":{"x":"%[1]s"}}`,
			} {
				resp, text := r.post(t, path, fmt.Sprintf(body, up, at))
				if resp.StatusCode/100 != 2 && resp.StatusCode/100 != 4 {
					t.Errorf("%s to %s: %d %s", path, up, resp.StatusCode, text)
				}
				if resp.StatusCode == http.StatusOK {
					passed++
				}
			}
		}
	}
	if passed == 0 {
		t.Error("nothing was taken at all: the test shows nothing")
	}
}

// S27: what providers store (files, batches, answers, conversations, threads, vector stores) cannot be had through the gateway: there is no path to
// any of it, so that nobody has another's.
func TestStoredObjectsAreNotThere(t *testing.T) {
	r := newRig(t, "")
	n := 0
	for _, path := range strings.Fields(`/v1/files /v1/files/file-1 /v1/files/file-1/content /v1/batches /v1/batches/batch_1 /v1/responses/resp_1 /v1/responses/resp_1/input_items /v1/responses/resp_1/cancel
		/v1/conversations /v1/conversations/conv_1 /v1/conversations/conv_1/items /v1/threads /v1/threads/thread_1/messages /v1/vector_stores /v1/vector_stores/vs_1/files /v1/assistants /v1/uploads /v1/fine_tuning/jobs
		/v1/chat/completions/chatcmpl-1 /v1/chat/completions/chatcmpl-1/messages /v1/messages/batches /v1/messages/batches/msgbatch_1/results /v1/containers /v1/organization/admin_api_keys /v1beta/files /v1beta/files/f1 /v1beta/cachedContents
		/v1beta/cachedContents/c1 /v1beta/operations/o1 /upload/v1beta/files`) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(`{"model":"o/echo"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+testKey)
			n++
			if resp, text := do(t, req); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
			}
		}
	}
	select {
	case <-r.got:
		t.Error("a request reached the upstream")
	default:
	}
	if n < 80 {
		t.Errorf("only %d requests", n)
	}
}
