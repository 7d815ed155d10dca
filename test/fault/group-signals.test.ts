/** Signals that reach more than the agent: a node's group, as from a terminal, and each of its processes, as from a batch system. */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { bwrap } from "../../src/executor/sandbox/bwrap/driver.ts";
import type { SandboxName } from "../../src/executor/sandbox/registry.ts";
import { type Lease, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ROOT, ServedNode } from "../support/executable.ts";
import { type Docker, openDocker, whyNoDocker } from "../support/docker.ts";
import { withPodman, whyNoPodman } from "../support/podman.ts";
import { alive, descendants, marked } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Signals = typeof import("../functions/signals.ts");
const MODULE = join(FUNCTIONS, "signals.ts");
const LIMIT_MS = 120_000;
/** Longer than it takes to send them: calls are in flight meanwhile. */
const CALL_MS = 1500;
const JOBS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

const lacks: Partial<Record<SandboxName, string | undefined>> = {
  bwrap: bwrap.whyNot()?.found,
  podman: whyNoPodman(),
  docker: whyNoDocker(),
};

const scratch = new Scratch();
let docker: Docker | undefined;
afterAll(async () => {
  await docker?.[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});
let nodes = 0;

/** A node that leads a group of its own. */
async function serve(sandbox: SandboxName): Promise<ServedNode> {
  const name = `node-${nodes++}`;
  if (sandbox === "docker") docker ??= await openDocker();
  const around = sandbox === "podman" ? withPodman : sandbox === "docker" ? docker!.within : [];
  return await ServedNode.start(
    scratch.join(`${name}.sock`),
    [
      ...["--sandbox", sandbox, "--state", scratch.join(name), "--cores", "2"],
      // Without a room, a host that has just begun, to wait for a lease, dies of what it does not catch yet.
      ...(sandbox === "none" ? ["--prewarm", "0"] : ["--allow-processes"]),
    ],
    ["setsid", ...around],
  );
}

const numberIn = (lease: Lease<Signals>, value: number): Uint32Array<ArrayBuffer> => {
  const input = lease.input(Uint32Array, 1);
  input[0] = value;
  return input;
};

const toGroup = (pid: number, signal: NodeJS.Signals): void => void process.kill(-pid, signal);

const toEach = (pid: number, signal: NodeJS.Signals): void => {
  for (const one of [pid, ...descendants(pid)])
    try {
      process.kill(one, signal);
    } catch {
      // It has ended meanwhile.
    }
};

/** Of a process, which of {@link JOBS} the kernel does otherwise with than by default. */
function unusual(pid: number): string[] {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return ["SigBlk", "SigIgn", "SigCgt"].flatMap((kind) => {
    const mask = BigInt(`0x${new RegExp(`^${kind}:\\t(\\w+)$`, "m").exec(status)![1]}`);
    return JOBS.filter((name) => mask & (1n << BigInt(constants.signals[name] - 1))).map(
      (name) => `${kind} ${name}`,
    );
  });
}

describe.each(["none", "process", "bwrap", "podman", "docker"] as const)(
  "a node of %s",
  (sandbox) => {
    const lack = lacks[sandbox];
    if (lack !== undefined) console.error(`SKIPPED: signals to a node of ${sandbox}: ${lack}`);

    test.skipIf(lack !== undefined).each([
      ["its group", toGroup],
      ["each of its processes", toEach],
    ] as const)(
      "whose signals come to %s loses no lease and no call, and drains",
      async (_, send) => {
        await using node = await serve(sandbox);
        await using rf = await invoker({ node: node.address });
        const lease = await rf.allocate<Signals>(MODULE, {
          workers: 2,
          processes: sandbox !== "none",
        });
        const lost: unknown[] = [];
        const deadlines: Date[] = [];
        lease.on("lost", (error) => lost.push(error));
        lease.on("revoking", ({ deadline }) => deadlines.push(deadline));
        const nothing = lease.output(Uint8Array, 4);
        for (const worker of [0, 1])
          await lease.submit("listens", numberIn(lease, 0), nothing, { worker });
        const running = [0, 1].map((worker) =>
          lease.submit("later", numberIn(lease, CALL_MS), lease.output(Uint32Array, 1), { worker }),
        );
        send(node.pid, "SIGHUP");
        send(node.pid, "SIGHUP");
        await until(() => node.stderr.includes("SIGHUP"), "the node has heard of it");
        expect(deadlines).toEqual([]);
        send(node.pid, "SIGTERM");
        await until(() => deadlines.length > 0, "the lease hears when it ends");
        expect(await Promise.all(running)).toEqual([4, 4]);
        const again = lease.output(Uint32Array, 1);
        lease.invoke("later", numberIn(lease, 1), again);
        expect([again[0], lost]).toEqual([1, []]);
        await lease.release();
        expect(await node.exited).toBe(0);
        expect(node.stderr).not.toMatch(/lost|died|a host that/);
      },
      LIMIT_MS,
    );

    test.skipIf(lack !== undefined)(
      "has hosts in sessions of their own, which catch the signals; what functions start has the defaults",
      async () => {
        await using node = await serve(sandbox);
        await using rf = await invoker({ node: node.address });
        const processes = sandbox !== "none";
        await using lease = await rf.allocate<Signals>(MODULE, { processes });
        const mark = 100_000 + process.pid;
        await lease.submit("sleeper", numberIn(lease, mark), lease.output(Uint8Array, 1));
        await until(() => marked(String(mark)).length === 1, "a function's program runs");
        expect(unusual(lease.hostPid).toSorted()).toEqual(JOBS.map((name) => `SigCgt ${name}`));
        expect(unusual(marked(String(mark))[0]!)).toEqual([]);
        expect(groupOf(lease.hostPid)).not.toBe(groupOf(node.pid));
      },
      LIMIT_MS,
    );
  },
);

const groupOf = (pid: number): string => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]!;
};

/** Runs a program that leads a group of its own, which is sent `signal` when it says that it is ready. */
async function signalled(command: readonly string[], signal: NodeJS.Signals) {
  const child = Bun.spawn(["setsid", ...command], {
    env: { ...process.env, RFAAS_EXECUTABLE: RFAAS },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  const heard = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) said += text;
  })();
  const complained = child.stderr.text();
  await until(() => said.includes("ready"), "the program is ready");
  const others = descendants(child.pid);
  process.kill(-child.pid, signal);
  await Promise.all([child.exited, heard]);
  await until(() => !others.some(alive), "its node and the hosts are gone");
  return { said, stderr: await complained, exitCode: child.exitCode, signal: child.signalCode };
}

const CALLS = `
  const lease = await rf.allocate(${JSON.stringify(MODULE)}, { polling: "warm" });
  const input = lease.input(Uint32Array, 1);
  input[0] = ${CALL_MS};
  const call = lease.submit("later", input, lease.output(Uint32Array, 1));
  console.log("ready");
`;

describe("the private node of a program", () => {
  test.each(JOBS)(
    "goes on when %s comes to their group, and the program decides what it means",
    async (signal) => {
      const program = scratch.file(
        `handles-${signal}.mts`,
        `import { invoker } from ${JSON.stringify(join(ROOT, "src/index.ts"))};
        const rf = await invoker({ cores: 1 });
        process.on("${signal}", () => console.log("heard"));
        ${CALLS}
        console.log("answer", await call);
        await rf.close();`,
      );
      const ended = await signalled([process.execPath, program], signal);
      expect(ended).toMatchObject({ said: "ready\nheard\nanswer 4\n", exitCode: 0 });
    },
    LIMIT_MS,
  );

  test.each(JOBS)(
    "ends with a program that does nothing about %s, as rfaas run starts it",
    async (signal) => {
      const program = scratch.file(
        `leaves-${signal}.mts`,
        `import { invoker } from "rfaas";
        const rf = await invoker({ cores: 1 });
        ${CALLS}
        await new Promise(() => {});`,
      );
      const ended = await signalled([RFAAS, "run", program], signal);
      expect(ended).toMatchObject({ said: "ready\n", signal });
      expect(ended.stderr).not.toContain("ERROR");
    },
    LIMIT_MS,
  );
});
