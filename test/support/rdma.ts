/** For tests that need an RDMA device: whether this machine has one, and what the kernel counts of it. */
import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { verbsProblem } from "../../ffi/verbs/verbs.ts";
import { chooseGid, rdmaDevices } from "../../src/fabric/verbs/devices.ts";
import { until } from "./until.ts";

export interface Device {
  name: string;
  port: number;
  address: string;
  netdev: string;
}

function findDevice(): Device | { reason: string } {
  try {
    const { device, port, gid } = chooseGid(rdmaDevices(), {});
    const problem = verbsProblem();
    if (problem !== null) return { reason: problem };
    return { name: device, port, address: gid.address, netdev: gid.netdev ?? "" };
  } catch (error) {
    return { reason: (error as Error).message };
  }
}

const found = findDevice();

/** Describes what needs the device; elsewhere says why it is skipped. */
export function withDevice(name: string, body: (device: Device) => void): void {
  describe(name, () => {
    if ("address" in found) body(found);
    else test.skip(`needs an RDMA device: ${found.reason}`, () => {});
  });
}

/** Whether the port can be used now. */
export function portIsActive(device: Device): boolean {
  try {
    return chooseGid(rdmaDevices(), { device: device.name }).gid.address === device.address;
  } catch {
    return false;
  }
}

/** What the kernel keeps for all processes. */
export interface Resources {
  qp: number;
  cq: number;
  mr: number;
  pd: number;
  cm_id: number;
}

export function resources(): Resources {
  const { stdout } = Bun.spawnSync(["rdma", "resource", "show"]);
  const text = stdout.toString();
  const count = (what: string): number => {
    let sum = 0;
    for (const [, number] of text.matchAll(new RegExp(` ${what} (\\d+)`, "g")))
      sum += Number(number);
    return sum;
  };
  return {
    qp: count("qp"),
    cq: count("cq"),
    mr: count("mr"),
    pd: count("pd"),
    cm_id: count("cm_id"),
  };
}

/** The kernel frees what a dead process had on its own time; then there is what was there before. */
export async function expectResources(before: Resources, limitMs = 10_000): Promise<void> {
  await until(() => Bun.deepEquals(resources(), before), "RDMA resources are freed", limitMs).catch(
    () => {},
  );
  expect(resources()).toEqual(before);
}

/** How often, since the machine has started, a message came to a queue pair of the port that had no receive posted. */
export function notReady({ name, port }: Device): Record<string, number> {
  const folder = `/sys/class/infiniband/${name}/ports/${port}/hw_counters`;
  return Object.fromEntries(
    readdirSync(folder)
      .filter((counter) => counter.includes("rnr"))
      .map((counter) => [counter, Number(readFileSync(`${folder}/${counter}`, "utf8"))]),
  );
}

/** The address that a served node has found. */
export function listeningAt({ stderr }: { stderr: string }): string {
  const address = / at (\S+:\d+) over /.exec(stderr)?.[1];
  if (address === undefined) throw new Error(`the node told no address:\n${stderr}`);
  return address;
}
