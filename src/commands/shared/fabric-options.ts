/** The options that choose a fabric, for every command that has one. */
import { Type, type Static } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { InvokerOptions, VerbsOptions } from "../../client/options/connect-options.ts";
import { fromDatabase, readDeviceDatabase } from "../../fabric/verbs/device-database.ts";
import type { FabricName, FabricOptions } from "../../fabric/registry.ts";
import { pathField } from "./fields.ts";

export const fabricFields = {
  fabric: InvokerOptions.properties.fabric,
  ...VerbsOptions.properties,
  devices: pathField("file", { description: "the original rFaaS's devices.json" }),
};
const Given = Type.Object(fabricFields);
type Given = Static<typeof Given>;

/** The fabric and what is wanted of it. Throws `UsageError` on options that contradict each other, or a wrong file. */
export function readFabric(options: Given): { fabric?: FabricName } & FabricOptions {
  const { fabric, ibPort, gidIndex } = options;
  let { device, inlineMax } = options;
  if (options.devices !== undefined) {
    const entry = fromDatabase(readDeviceDatabase(options.devices), device);
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
