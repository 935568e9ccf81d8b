// Package inventory is the hub's end of what gateways send of their own accord: the
// devices and services of all gateways, and what they heard.
package inventory
