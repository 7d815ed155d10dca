/** The options of the fabric, for programs and command lines. */
import { type Static, Type } from "@sinclair/typebox";
import { bytes, perhaps, text, whole } from "../../options/fields.ts";
import { fromDatabase, readDeviceDatabase } from "./device-database.ts";

/** Which RDMA device to use on this side, and how. */
export const VerbsOptions = Type.Object(
  {
    /** Such as `"mlx5_0"`. Default: the first with an active port. */
    device: perhaps(
      text("the name of an RDMA device, such as mlx5_0", {
        description: "RDMA device",
        otherwise: "the first with an active port",
        flag: true,
        placeholder: "name",
      }),
    ),
    /** Its port. Default: the first that is active. */
    ibPort: perhaps(
      whole(1, 255, {
        description: "its port",
        otherwise: "the first that is active",
        flag: true,
      }),
    ),
    /** Its GID. Default: the best, IPv4 first. */
    gidIndex: perhaps(
      whole(0, 65_535, {
        description: "its GID",
        otherwise: "the best, IPv4 first",
        flag: true,
      }),
    ),
    /** Payloads up to so many bytes travel inside the work request. Default 256, or what the device can. */
    inlineMax: perhaps(
      bytes(0, 4096, {
        description: "payloads that travel inside the work request",
        otherwise: "256, or what the device can",
        flag: true,
      }),
    ),
  },
  {
    title: "RDMA",
    description: "which RDMA device to use on this side, and how",
    call: "invoker({ verbs: options })",
    errorMessage: 'must be an object such as { device: "mlx5_0" }',
  },
);
export type VerbsOptions = Static<typeof VerbsOptions>;

/** What only a command line has. */
export const verbsFlags = {
  devices: Type.Optional(
    text("a file", { placeholder: "file", description: "the original rFaaS's devices.json" }),
  ),
};

/** The options, with what a file says of the device that they name, or of its first. */
export function withDatabase(
  { device, inlineMax, ...options }: VerbsOptions,
  path: string,
): VerbsOptions {
  const entry = fromDatabase(readDeviceDatabase(path), device);
  return { ...options, device: entry.device, inlineMax: inlineMax ?? entry.maxInline };
}
