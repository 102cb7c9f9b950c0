// Package server connects to PostgreSQL servers, tells who they are, and explains their errors.
package server
