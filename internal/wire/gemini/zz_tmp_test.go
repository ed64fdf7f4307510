package gemini

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestZZServe(t *testing.T) {
	addr := os.Getenv("ZZ")
	if addr == "" {
		t.Skip()
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ok/v1beta/models/", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = r.URL.Path[3:]
		serve(t, sdkEvents(), nil)(w, r)
	})
	mux.HandleFunc("/fail/v1beta/models/", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = r.URL.Path[5:]
		serve(t, sdkEvents()[:6], &llm.Error{Kind: llm.KindOverloaded, Msg: "gone"})(w, r)
	})
	mux.HandleFunc("/err/v1beta/models/", func(w http.ResponseWriter, r *http.Request) {
		s, b := Generate.Error(&llm.Error{Kind: llm.KindRateLimited, Msg: "what"}, "req_1")
		w.WriteHeader(s)
		_, _ = w.Write(b)
	})
	go func() { _ = http.Serve(l, mux) }()
	time.Sleep(20 * time.Second)
	fmt.Println("done")
}
