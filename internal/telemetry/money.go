package telemetry

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/internal/llm"
)

// costs are what calls have cost, in whole nano-dollars: only what a scrape is told is rounded to a float.
type costs struct {
	desc   *prometheus.Desc
	all    sync.Map     // of costOf to *atomic.Int64
	models atomic.Int64 // how many there are
}

// A costOf is whose cost it is: of a provider's model, in the upstream's own name.
type costOf struct{ provider, model string }

// mostModels bounds the names of models, which clients may choose where a provider's whole list is open to them. Those that
// come later are others.
const mostModels = 500

const otherModels = "other"

func (c *costs) add(provider, model string, n llm.Nano) {
	key := costOf{provider, model}
	sum, ok := c.all.Load(key)
	if !ok {
		key.model = strings.Clone(model)
		if c.models.Load() >= mostModels {
			key.model = otherModels
		}
		if sum, ok = c.all.LoadOrStore(key, new(atomic.Int64)); !ok {
			c.models.Add(1)
		}
	}
	sum.(*atomic.Int64).Add(int64(n)) //nolint:forcetypeassert // nothing else is kept there
}

// Describe implements prometheus.Collector.
func (c *costs) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *costs) Collect(ch chan<- prometheus.Metric) {
	c.all.Range(func(key, sum any) bool {
		of, n := key.(costOf), sum.(*atomic.Int64).Load() //nolint:forcetypeassert // nothing else is kept there
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n)/float64(llm.Dollar), of.provider, of.model)
		return true
	})
}

// Refused counts a call that a limit of a kind had no room for: requests, tokens, parallel, money or token_budget.
func (m *Metrics) Refused(limit string) { m.refused.WithLabelValues(limit).Inc() }

// A LedgerState is how the ledger and the cache of keys stand.
type LedgerState struct {
	Appended, Shipped, Settled uint64        // positions
	Open                       int           // calls that have begun and not ended, as far as is shipped
	Bytes                      int64         // of the log's files
	Late                       int           // ends that wait for room in the log
	Dropped                    int64         // ends that were lost
	Failures                   int64         // of the log's disk
	Damages                    int           // that the log had when it was opened
	Trouble                    time.Duration // for how long nothing has been brought to the database; 0: all is well
	Known, Unknown             int           // keys in the cache, and keys that it knows not to be
}

// WatchLedger tells the state of the ledger at each scrape.
func (m *Metrics) WatchLedger(state func() LedgerState) {
	m.registry.MustRegister(ledgerWatcher(state))
}

type ledgerWatcher func() LedgerState

func ledgerDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_"+name, help, labels, nil)
}

var (
	ledgerPosition = ledgerDesc("ledger_position", "Last position of the log that was appended, shipped to the database, settled with budgets. Their differences are the lag.", "stage")
	ledgerOpen     = ledgerDesc("ledger_open_calls", "Calls that have begun and not ended, as far as the log is shipped.")
	ledgerBytes    = ledgerDesc("ledger_spool_bytes", "Bytes of the log's files in use; ledger.spool bounds them.")
	ledgerLate     = ledgerDesc("ledger_late", "Ends of calls that wait for room in the log.")
	ledgerDropped  = ledgerDesc("ledger_dropped_total", "Ends of calls that were lost, as ledger.when_full is go_on.")
	ledgerFailures = ledgerDesc("ledger_disk_failures_total", "What the log's disk could not do.")
	ledgerDamages  = ledgerDesc("ledger_damages", "Damages that the log had when it was opened.")
	ledgerTrouble  = ledgerDesc("ledger_store_trouble_seconds", "For how long nothing could be brought to the database; 0 while all is well.")
	cachedKeys     = ledgerDesc("key_cache_entries", "Keys in the cache: those that there are, and those that there are not.", "kind")
)

// Describe implements prometheus.Collector.
func (ledgerWatcher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		ledgerPosition, ledgerOpen, ledgerBytes, ledgerLate, ledgerDropped, ledgerFailures, ledgerDamages, ledgerTrouble, cachedKeys,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w ledgerWatcher) Collect(ch chan<- prometheus.Metric) {
	s := w()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(ledgerPosition, float64(s.Appended), "appended")
	gauge(ledgerPosition, float64(s.Shipped), "shipped")
	gauge(ledgerPosition, float64(s.Settled), "settled")
	gauge(ledgerOpen, float64(s.Open))
	gauge(ledgerBytes, float64(s.Bytes))
	gauge(ledgerLate, float64(s.Late))
	gauge(ledgerDamages, float64(s.Damages))
	gauge(ledgerTrouble, s.Trouble.Seconds())
	gauge(cachedKeys, float64(s.Known), "known")
	gauge(cachedKeys, float64(s.Unknown), "unknown")
	for d, n := range map[*prometheus.Desc]int64{ledgerDropped: s.Dropped, ledgerFailures: s.Failures} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
}
