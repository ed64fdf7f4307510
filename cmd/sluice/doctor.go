package main

import "github.com/spf13/cobra"

func (p *program) doctor() *cobra.Command { return p.command("doctor", "Doc.", nil, nil) }
