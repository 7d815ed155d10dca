/** The options that choose a fabric, for every command that has one. */
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { fromDatabase, readDeviceDatabase } from "../../fabric/verbs/device-database.ts";
import type { VerbsOptions } from "../../fabric/registry.ts";
import type { FabricName } from "../../protocol/messages.ts";
import { size, smallSizeOption, text, whole } from "./options.ts";

export const fabricOptions = {
  fabric: Type.Optional(
    Type.Union([Type.Literal("shm"), Type.Literal("verbs")], {
      errorMessage: "must be shm or verbs",
    }),
  ),
  device: Type.Optional(text),
  ibPort: Type.Optional(whole(1, 255)),
  gidIndex: Type.Optional(whole(0, 65_535)),
  inlineMax: Type.Optional(size),
  devices: Type.Optional(text),
};

export const fabricFlags = [
  {
    flag: "--fabric <name>",
    description: "shm or verbs (default: shm on one machine, else verbs)",
  },
  { flag: "--device <name>", description: "RDMA device (default: the first with an active port)" },
  { flag: "--ib-port <n>", description: "its port (default: the first that is active)" },
  { flag: "--gid-index <n>", description: "its GID (default: the best, IPv4 first)" },
  {
    flag: "--inline-max <size>",
    description:
      "payloads that travel inside the work request (default: 256, or what the device can)",
  },
  { flag: "--devices <file>", description: "the original rFaaS's devices.json" },
];

/** More than any device can. */
const MAX_INLINE_BYTES = 4096;

interface Given {
  fabric?: FabricName;
  device?: string | number;
  ibPort?: number;
  gidIndex?: number;
  inlineMax?: string | number;
  devices?: string | number;
}

/** The fabric and what is wanted of it. Throws `UsageError` on options that contradict each other, or a wrong file. */
export function readFabric(options: Given): { fabric?: FabricName; verbs: VerbsOptions } {
  const { fabric, ibPort, gidIndex } = options;
  let inlineMax = smallSizeOption("--inline-max", options.inlineMax, MAX_INLINE_BYTES);
  let device = options.device === undefined ? undefined : String(options.device);
  if (options.devices !== undefined) {
    const path = String(options.devices);
    const entry = fromDatabase(readDeviceDatabase(path), device);
    device = entry.device;
    inlineMax ??= entry.maxInline;
  }
  const named = { "--device": device, "--ib-port": ibPort, "--gid-index": gidIndex };
  const first = Object.entries(named).find(([, value]) => value !== undefined)?.[0];
  if (fabric === "shm" && first)
    throw new UsageError(
      `${first} chooses an RDMA device and --fabric shm uses none; leave one away`,
    );
  return { ...(fabric ? { fabric } : {}), verbs: { device, ibPort, gidIndex, inlineMax } };
}
