//! The safety gate: envelopes, zones and arbitration, pure and allocation-free on the tick.
