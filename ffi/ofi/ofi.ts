/** libfabric: whether this process can use it, which providers it has, and why a connection failed. */
import { check } from "../errors.ts";
import { ofi } from "./symbols.ts";

/** Why this process has no libfabric, in words that end with what to do; null when it has. */
export function ofiProblem(): string | null {
  switch (ofi().rfaas_ofi_state()) {
    case 0:
      return null;
    case 1:
      return "this executable was built without the headers of libfabric; install libfabric-dev and build it again";
    case 2:
      return "libfabric.so.1 cannot be opened; install libfabric1";
    default:
      return "libfabric is too old; install libfabric 1.14 or later";
  }
}

/** What to open, as the shim reads it. */
export interface OfiDevice {
  /** As libfabric names it. */
  provider: string;
  /** Default: the first that the provider has. */
  domain?: string | undefined;
  /** In hexadecimal digits. */
  authKey?: string | undefined;
  /** All payloads travel in messages, and none is written apart. */
  messages?: boolean | undefined;
  /** What the provider does without the other side's processor: reads and writes, or changes of words, too. Default: nothing. */
  oneSided?: "transfers" | "all" | undefined;
}

export function deviceText({ provider, domain, authKey, messages, oneSided }: OfiDevice): string {
  const letters = `${messages ? "m" : ""}${oneSided ? "r" : ""}${oneSided === "all" ? "a" : ""}`;
  return [provider, domain ?? "", authKey ?? "", letters].join("\n");
}

/** What libfabric has of a device, such as `tcp;ofi_rxm on eth0`. Throws `NativeError`. */
export function probeOfi(device: OfiDevice): string {
  const out = new Uint8Array(new ArrayBuffer(4096));
  check(
    `asking libfabric for ${device.provider}`,
    ofi().rfaas_ofi_probe(Buffer.from(`${deviceText(device)}\0`), out, out.length),
  );
  return textOf(out);
}

/** What libfabric calls an error of its own, or of the system's. */
export function ofiError(code: number): string {
  const out = new Uint8Array(new ArrayBuffer(256));
  ofi().rfaas_ofi_error(code, out, out.length);
  return textOf(out) || `error ${code}`;
}

function textOf(out: Uint8Array): string {
  return new TextDecoder().decode(out.subarray(0, out.indexOf(0)));
}

/** Why a link or an end of it does not work. `enum rfaas_ofi_failure`. */
export const OFI_FAILURE = {
  sound: 0,
  closed: 1,
  broken: 2,
  protocol: 3,
  setup: 4,
  rejected: 5,
  timedOut: 6,
} as const;

/** What was being done when a set-up failed. `enum rfaas_ofi_stage`. */
export const OFI_STAGE = {
  resources: 0,
  address: 1,
  listen: 2,
  connect: 3,
  provider: 4,
  register: 5,
  endpoint: 6,
  reach: 7,
} as const;
