/** What a program can ask of the fabric. */
import type { DeviceChoice } from "./devices.ts";

/** Which RDMA device to use on this side, and how; whatever is left out is found out. */
export interface VerbsOptions extends DeviceChoice {
  /** Payloads up to so many bytes travel inside the work request. Default 256, or what the device can. */
  inlineMax?: number | undefined;
}
