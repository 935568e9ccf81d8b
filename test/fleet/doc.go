// Package fleet proves reverse access as a user has it: the real program as a hub and
// as gateways, in network namespaces, behind a router that hides them, with links that
// are cut, processes that are killed between any two steps, programs in Python that
// know the published protocol only, and clients that lie.
package fleet
