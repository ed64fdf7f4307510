package app

import (
	"context"

	"sluice/internal/backend/sql"
	"sluice/internal/config"
)

// OpenStore opens the database that a configuration names.
func OpenStore(ctx context.Context, cfg *config.Config, o sql.Options) (*sql.DB, error) {
	o.DSN, o.Dir, o.Conns = cfg.Store.URL, cfg.Data, cfg.Store.Connections
	return sql.Open(ctx, o)
}
