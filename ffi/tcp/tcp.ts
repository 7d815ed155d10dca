/** Why a connection over tcp does not work, as the shim says it. */

/** `enum rfaas_tcp_failure`. */
export const TCP_FAILURE = {
  sound: 0,
  closed: 1,
  broken: 2,
  protocol: 3,
  setup: 4,
  rejected: 5,
  timedOut: 6,
} as const;

/** What was being done when a set-up failed. `enum rfaas_tcp_stage`. */
export const TCP_STAGE = { resources: 0, address: 1, listen: 2, connect: 3 } as const;
