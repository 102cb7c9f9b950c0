package main

import "github.com/spf13/cobra"

// newDemoCommand is where the demo comes in.
func (a *app) newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "demo",
		Short:              "Show a live integration that is broken on purpose (not in this version)",
		Hidden:             true,
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE:               func(cmd *cobra.Command, _ []string) error { return notInThisVersion(cmd.CommandPath()) },
	}
}
