//go:build soak

package testenv

func fixSeed() {}
