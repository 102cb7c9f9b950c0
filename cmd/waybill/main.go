// Command waybill keeps the same data true in several systems. See "waybill --help".
package main

import "os"

func main() {
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
