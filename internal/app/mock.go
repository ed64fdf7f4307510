package app

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"sluice/internal/config"
	"sluice/internal/mock"
)

// mockModels are the models of the built-in upstream that are offered by name; every other one, and every
// script of package mock, is reached as mock/NAME.
var mockModels = []string{"echo", "story", "tools", "reason"}

// mocks are the names under which the built-in upstream is offered, a dialect each.
var mocks = config.Mocks()

// A mockServer is the built-in upstream on a loopback port of its own: calls to it take the whole path of
// any other call.
type mockServer struct {
	url    string
	server *http.Server
	done   chan struct{}
}

func startMock() (*mockServer, error) {
	handler, err := mock.New(mock.Options{Log: 1000})
	if err != nil {
		return nil, fmt.Errorf("start the built-in upstream: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the built-in upstream: %w", err)
	}
	m := &mockServer{
		url: "http://" + l.Addr().String(), done: make(chan struct{}),
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() {
		defer close(m.done)
		_ = m.server.Serve(l) // ends with close
	}()
	return m, nil
}

func (m *mockServer) close() {
	_ = m.server.Close()
	<-m.done
}
