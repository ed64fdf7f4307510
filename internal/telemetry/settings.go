package telemetry

import "github.com/prometheus/client_golang/prometheus"

var (
	settingsRevision = prometheus.NewDesc("sluice_settings_revision", "Revision of the settings that this process runs on; 0: the file alone.", nil, nil)
	settingsRefused  = prometheus.NewDesc("sluice_settings_refused", "Newer revision of the settings that this process could not take up; 0: none.", nil, nil)
)

// WatchSettings tells at each scrape which revision of the settings the process runs on, and which it refused.
func (m *Metrics) WatchSettings(state func() (revision, refused int64)) {
	m.registry.MustRegister(settingsWatcher(state))
}

type settingsWatcher func() (revision, refused int64)

// Describe implements prometheus.Collector.
func (settingsWatcher) Describe(ch chan<- *prometheus.Desc) {
	ch <- settingsRevision
	ch <- settingsRefused
}

// Collect implements prometheus.Collector.
func (w settingsWatcher) Collect(ch chan<- prometheus.Metric) {
	revision, refused := w()
	ch <- prometheus.MustNewConstMetric(settingsRevision, prometheus.GaugeValue, float64(revision))
	ch <- prometheus.MustNewConstMetric(settingsRefused, prometheus.GaugeValue, float64(refused))
}
