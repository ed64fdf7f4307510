package telemetry

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// Metrics are what Prometheus scrapes. Names that OpenTelemetry's GenAI conventions have are theirs, in
// Prometheus' spelling. Every label has few values: providers are those of the configuration, formats,
// operations and error codes those of this build; a model's name is a label of its cost only, where it is the upstream's own and
// bounded: clients choose names.
type Metrics struct {
	registry *prometheus.Registry
	inFlight prometheus.Gauge
	reloads  *prometheus.CounterVec
	changes  *prometheus.CounterVec
	retries  *prometheus.CounterVec
	calls    *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	usage    *prometheus.HistogramVec
	duration *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	perToken *prometheus.HistogramVec
	own      *prometheus.HistogramVec
	bytes    *prometheus.CounterVec

	refused *prometheus.CounterVec
	guards  *prometheus.CounterVec
	scanned *prometheus.CounterVec
	found   *prometheus.CounterVec
	costs   costs
	saved   costs // by the cache

	mu    sync.RWMutex // guards lines
	lines map[line]*children
}

// A line is one combination of labels; its children are resolved once and held.
type line struct {
	provider string
	format   llm.Format
	op       llm.Op
	status   int
	code     llm.Kind
}

type children struct {
	calls                        prometheus.Counter
	input, cacheRead, cacheWrite prometheus.Counter
	output, reasoning            prometheus.Counter
	inputUsage, outputUsage      prometheus.Observer
	duration, first              prometheus.Observer
	perToken, own                prometheus.Observer
	bytesIn, bytesOut            prometheus.Counter
}

var (
	// As OpenTelemetry's GenAI conventions advise; durations go on to the ten minutes that a call may take.
	seconds     = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68}
	firstTimes  = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30, 60, 120}
	tokenTimes  = []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5}
	tokenCounts = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304}
	ownTimes    = []float64{10e-6, 20e-6, 40e-6, 80e-6, 160e-6, 320e-6, 640e-6, .00128, .0025, .005, .01, .05, .1, 1}
)

// NewMetrics makes the metrics in a registry of their own. dropped counts lost log lines.
func NewMetrics(dropped func() int64) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), lines: make(map[line]*children)}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.calls = counter("sluice_calls_total", "Calls that ended.", "provider", "format", "operation", "status", "code")
	m.tokens = counter("sluice_tokens_total", "Tokens that upstreams reported. cache_read and cache_write are part of input, reasoning of output.", "provider", "operation", "kind")
	m.bytes = counter("sluice_bytes_total", "Bytes of requests read and of answers written.", "provider", "direction")
	const provider, operation = "gen_ai_provider_name", "gen_ai_operation_name"
	m.usage = histogram("gen_ai_client_token_usage", "Tokens of one call, input or output.", tokenCounts, provider, operation, "gen_ai_token_type")
	m.duration = histogram("gen_ai_server_request_duration_seconds", "Calls from their first byte to their end.", seconds, provider, operation, "error_type")
	m.first = histogram("gen_ai_server_time_to_first_token_seconds", "Calls from their first byte to the first byte of their answer.", firstTimes, provider, operation)
	m.perToken = histogram("gen_ai_server_time_per_output_token_seconds", "Streams: time after the first byte, by output token after the first.", tokenTimes, provider, operation)
	m.own = histogram("sluice_overhead_seconds", "Time before the answer's first byte that was not spent waiting for the upstream.", ownTimes, "provider", "operation")
	m.reloads = counter("sluice_config_reloads_total", "Configurations that were to replace the running one.", "result")
	m.changes = counter("sluice_upstream_changes_total", "Breakers that opened or closed, credentials that were refused or accepted again, words of operators.", "event")
	m.refused = counter("sluice_refusals_total", "Calls that a limit or budget had no room for, by what it limits.", "limit")
	m.guards = counter("sluice_guarded_calls_total", "Calls that a guard held for, by what came of it.", "outcome")
	m.scanned = counter("sluice_guard_bytes_total", "Bytes of text in guarded requests, by whether all detectors read them.", "result")
	m.found = counter("sluice_guard_findings_total", "What guards found, by its type and by what became of it.", "type", "action", "in")
	m.costs.desc = prometheus.NewDesc("sluice_cost_dollars_total",
		"What calls cost, as far as it was known at their end; the ledger has it to the nano-dollar.", []string{"provider", "model"}, nil)
	m.saved.desc = prometheus.NewDesc("sluice_cache_saved_dollars_total",
		"What calls would have cost that the cache answered, by who gave the answer first.", []string{"provider", "model"}, nil)
	m.registry.MustRegister(&m.costs, &m.saved)
	m.retries = counter("sluice_retries_total", "Upstream calls of requests that took more than one, by how each ended.", "provider", "outcome")
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_requests_in_flight", Help: "Requests under way."})
	m.registry.MustRegister(m.inFlight,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sluice_log_dropped_total", Help: "Log lines lost because the output was too slow."},
			func() float64 { return float64(dropped()) }),
		buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, result := range []string{"replaced", "refused"} {
		m.reloads.WithLabelValues(result)
	}
	return m
}

func buildInfo() prometheus.Collector {
	b := Build()
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go},
	})
	g.Set(1)
	return g
}

// BuildInfo tells what binary this is.
type BuildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Build reads the build information that the linker left.
func Build() BuildInfo {
	b := BuildInfo{Version: "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version, b.Go = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

// Record counts a call that ended.
func (m *Metrics) Record(e *usage.Entry) {
	key := line{e.Target.Provider, e.Format, e.Op, e.Status, ""}
	if e.Err != nil {
		key.code = llm.AsError(e.Err).Kind
	}
	c := m.line(key)
	c.calls.Inc()
	c.bytesIn.Add(float64(e.BytesIn))
	c.bytesOut.Add(float64(e.BytesOut))
	if account, ok := e.Account(); e.Cache != "" { // no upstream has told anything of it
		m.saved.add(e.Target.Provider, e.Target.Model, e.Saved())
	} else {
		add(c.input, e.Usage.Input)
		add(c.cacheRead, e.Usage.CacheRead)
		add(c.cacheWrite, e.Usage.CacheWrite)
		add(c.output, e.Usage.Output)
		add(c.reasoning, e.Usage.Reasoning)
		observe(c.inputUsage, e.Usage.Input)
		observe(c.outputUsage, e.Usage.Output)
		if ok && account.PriceVersion != "" {
			m.costs.add(e.Target.Provider, e.Target.Model, account.Costs.Total())
		}
	}
	for i := range e.Tries {
		m.retries.WithLabelValues(e.Tries[i].Provider, e.Tries[i].Outcome).Inc()
	}
	m.guarded(e.Coverage)
	c.duration.Observe(e.Total.Seconds())
	c.own.Observe(e.Own.Seconds())
	if e.FirstToken > 0 {
		c.first.Observe(e.FirstToken.Seconds())
		if n := e.Usage.Output.N - 1; e.Stream && n > 0 {
			c.perToken.Observe((e.Total - e.FirstToken).Seconds() / float64(n))
		}
	}
}

// guarded counts what guards saw and found. Types are the detectors' and the configuration's.
func (m *Metrics) guarded(c *llm.Coverage) {
	if c == nil {
		return
	}
	m.guards.WithLabelValues(string(c.Outcome)).Inc()
	m.scanned.WithLabelValues("scanned").Add(float64(c.Scanned))
	m.scanned.WithLabelValues("unscanned").Add(float64(c.Unscanned))
	for i := range c.Found {
		f, in := &c.Found[i], "request"
		if f.Answer {
			in = "answer"
		}
		m.found.WithLabelValues(f.Type, f.Action, in).Add(float64(f.N))
	}
}

func add(c prometheus.Counter, n llm.Count) {
	if n.Known && n.N > 0 {
		c.Add(float64(n.N))
	}
}

// observe leaves absent counts out: they are not zero.
func observe(o prometheus.Observer, n llm.Count) {
	if n.Known {
		o.Observe(float64(n.N))
	}
}

func (m *Metrics) line(key line) *children {
	m.mu.RLock()
	c := m.lines[key]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	op, provider := string(key.op), key.provider
	c = &children{
		calls:       m.calls.WithLabelValues(provider, string(key.format), op, strconv.Itoa(key.status), string(key.code)),
		input:       m.tokens.WithLabelValues(provider, op, "input"),
		cacheRead:   m.tokens.WithLabelValues(provider, op, "cache_read"),
		cacheWrite:  m.tokens.WithLabelValues(provider, op, "cache_write"),
		output:      m.tokens.WithLabelValues(provider, op, "output"),
		reasoning:   m.tokens.WithLabelValues(provider, op, "reasoning"),
		bytesIn:     m.bytes.WithLabelValues(provider, "in"),
		bytesOut:    m.bytes.WithLabelValues(provider, "out"),
		inputUsage:  m.usage.WithLabelValues(provider, op, "input"),
		outputUsage: m.usage.WithLabelValues(provider, op, "output"),
		duration:    m.duration.WithLabelValues(provider, op, string(key.code)),
		first:       m.first.WithLabelValues(provider, op),
		perToken:    m.perToken.WithLabelValues(provider, op),
		own:         m.own.WithLabelValues(provider, op),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.lines[key]; other != nil {
		return other
	}
	m.lines[key] = c
	return c
}

// Reloaded counts a configuration that was taken over, or was not.
func (m *Metrics) Reloaded(ok bool) {
	if ok {
		m.reloads.WithLabelValues("replaced").Inc()
		return
	}
	m.reloads.WithLabelValues("refused").Inc()
}

// UpstreamChanged counts a change of a deployment or credential.
func (m *Metrics) UpstreamChanged(event string) { m.changes.WithLabelValues(event).Inc() }

// An UpstreamState is what is told of a deployment at each scrape. Which there are is the configuration's.
type UpstreamState struct {
	Deployment string
	Callable   bool
	InFlight   int
	Waiting    int
	Latency    float64 // seconds to the first output, a moving average
}

// WatchUpstreams tells the state of all deployments at each scrape.
func (m *Metrics) WatchUpstreams(states func() []UpstreamState) {
	m.registry.MustRegister(watcher(states))
}

type watcher func() []UpstreamState

var (
	upstreamCallable = prometheus.NewDesc("sluice_upstream_callable", "1 while new calls may go to the deployment.", []string{"deployment"}, nil)
	upstreamInFlight = prometheus.NewDesc("sluice_upstream_in_flight", "Calls under way from this process.", []string{"deployment"}, nil)
	upstreamWaiting  = prometheus.NewDesc("sluice_upstream_waiting", "Calls that wait because the deployment is full.", []string{"deployment"}, nil)
	upstreamLatency  = prometheus.NewDesc("sluice_upstream_latency_seconds", "Moving average of the time to the first output.", []string{"deployment"}, nil)
)

// Describe implements prometheus.Collector.
func (watcher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upstreamCallable, upstreamInFlight, upstreamWaiting, upstreamLatency} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w watcher) Collect(ch chan<- prometheus.Metric) {
	for _, s := range w() {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Deployment)
		}
		callable := 0.0
		if s.Callable {
			callable = 1
		}
		gauge(upstreamCallable, callable)
		gauge(upstreamInFlight, float64(s.InFlight))
		gauge(upstreamWaiting, float64(s.Waiting))
		gauge(upstreamLatency, s.Latency)
	}
}

// WatchMemory tells how much memory the calls under way are reckoned with.
func (m *Metrics) WatchMemory(taken func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_requests_memory_bytes", Help: "Memory that the requests under way are reckoned with (limits.memory).",
	}, func() float64 { return float64(taken()) }))
}

// InFlight counts the requests that h works on.
func (m *Metrics) InFlight(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inFlight.Inc()
		defer m.inFlight.Dec()
		h.ServeHTTP(w, r)
	})
}

// scrapeTimeout bounds one answer to Prometheus.
const scrapeTimeout = 10 * time.Second
