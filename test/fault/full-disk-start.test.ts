/** What was killed starts again when its disk has become full meanwhile, and goes on with its bills when there is room. */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, ServedNode } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { ownAddress } from "../support/own-address.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 120_000;
const SIZE = "size=4m,mode=0700";

const asRoot = process.getuid?.() === 0;
if (!asRoot) console.warn("skipped, needs root: manager and node start on a full disk");

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
}

/** Takes all the room that there is. */
function fill(disk: string): string {
  const filler = join(disk, "filler");
  Bun.spawnSync(["dd", "if=/dev/zero", `of=${filler}`, "bs=4096"], { stderr: "ignore" });
  expect(statfsSync(disk).bavail).toBe(0);
  return filler;
}

test.skipIf(!asRoot)(
  "manager and node that were killed start again on a disk that is full, and bill when there is room",
  async () => {
    using scratch = new Scratch();
    const disk = scratch.join("disk");
    mkdirSync(disk);
    run("mount", "-t", "tmpfs", "-o", SIZE, "rfaas-test", disk);
    try {
      // An address that other machines reach has more files to it.
      const host = ownAddress() ?? "127.0.0.1";
      await using manager = await RunningManager.start(disk, ["--insecure"], host);
      const serve = () =>
        ServedNode.start(`127.0.0.1:0`, [
          ...["--name", "n1", "--cores", "1", "--insecure", "--manager", manager.address],
          ...["--state", join(disk, "node"), "--cache", scratch.join("cache")],
        ]);
      const first = await serve();
      first.kill("SIGKILL");
      await first.exited;
      await manager.kill();

      const filler = fill(disk);
      await manager.restart();
      await using node = await serve();
      rmSync(filler);
      await until(() => node.stderr.includes("knows this node"), "the manager knows the node");
      await using rf = await invoker({ node: `127.0.0.1:${node.port}` });
      const isOpen = (error: unknown) => {
        // The manager says meanwhile that it cannot keep bills.
        expect((error as { code: string }).code).toBe("RFAAS_NODE_REFUSES");
        return undefined;
      };
      let lease: Awaited<ReturnType<typeof rf.allocate>> | undefined;
      await until(async () => {
        lease = await rf.allocate(join(FUNCTIONS, "good.ts")).catch(isOpen);
        return lease !== undefined;
      }, "the node leases");
      await lease!.release();
      const isBilled = (): boolean =>
        manager.rows().length === 1 && manager.rows()[0]!.reason === "released";
      await until(isBilled, "the lease is billed");
      node.kill("SIGTERM");
      expect(await node.exited).toBe(0);
    } finally {
      run("umount", "-l", disk);
    }
  },
  LIMIT_MS,
);
