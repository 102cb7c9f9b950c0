package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
)

func (a *app) newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration",
		Example: "  waybill schema > waybill.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.emitted = true // the schema is the one object, with -o json or without
			if _, err := a.stdout.Write(config.Schema()); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		},
	}
}
