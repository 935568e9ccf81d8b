// Package source turns what the protocols report into the domain's words: an
// event, a fact or a neighbour becomes a lanfolk.Sighting or a
// lanfolk.Observation. Each protocol has one small file. Here and in
// internal/bridge alone do protocols meet the domain.
package source
