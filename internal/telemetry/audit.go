package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// An AuditState is how the audit log stands, as far as this process knows.
type AuditState struct {
	Entries map[string]int64 // that it recorded, by result
	Age     time.Duration    // of the newest checkpoint; 0: none is known
}

// WatchAudit tells the state of the audit log at each scrape.
func (m *Metrics) WatchAudit(state func() AuditState) { m.registry.MustRegister(auditWatcher(state)) }

type auditWatcher func() AuditState

var (
	auditEntries = prometheus.NewDesc("sluice_audit_entries_total", "Entries of the audit log that this process recorded, by what came of the act.", []string{"result"}, nil)
	auditAge     = prometheus.NewDesc("sluice_audit_checkpoint_age_seconds", "Age of the newest checkpoint of the audit log that this process knows. There is a new one each minute in which something was recorded.", nil, nil)
)

// Describe implements prometheus.Collector.
func (auditWatcher) Describe(ch chan<- *prometheus.Desc) {
	ch <- auditEntries
	ch <- auditAge
}

// Collect implements prometheus.Collector.
func (w auditWatcher) Collect(ch chan<- prometheus.Metric) {
	s := w()
	for result, n := range s.Entries {
		ch <- prometheus.MustNewConstMetric(auditEntries, prometheus.CounterValue, float64(n), result)
	}
	ch <- prometheus.MustNewConstMetric(auditAge, prometheus.GaugeValue, s.Age.Seconds())
}
