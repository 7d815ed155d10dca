/** A batch system takes a node back: Slurm's preemption, by a Slurm of the test's own. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { invoker } from "../../src/index.ts";
import { EFFECTS, type Effects, callAll, effectsIn, tellFile } from "../support/effects.ts";
import { RFAAS } from "../support/executable.ts";
import { Slurm, whyNoSlurm } from "../support/slurm.ts";
import { until } from "../support/until.ts";

const lack = whyNoSlurm();
if (lack !== undefined) console.error(`SKIPPED: Slurm's preemption of a node: ${lack}`);

const GRACE_SECONDS = 12;
const CALLS = 100;
const CALL_MS = 1000;

test.skipIf(lack !== undefined)(
  "a node that Slurm preempts ends every call before its deadline, with a result or with an error that says that it did not run",
  async () => {
    await using slurm = await Slurm.start(GRACE_SECONDS);
    const [socket, effects] = [slurm.join("node.sock"), slurm.join("effects")];
    const [ended, ran] = [slurm.join("ended"), slurm.join("ran")];
    // As a step of its job it gets the signals at the beginning of the grace, each of its processes.
    const serve = `srun --ntasks 1 ${RFAAS} serve --listen ${socket} --state ${slurm.join("node")} --cores 1 --sandbox none --drain 10`;
    const idle = ["--partition", "idle", "--no-requeue", "--output", slurm.join("node.log")];
    const job = await slurm.batch([...idle, "--ntasks", "1"], `${serve}\necho $? > ${ended}`);
    await until(() => existsSync(socket), "the node serves", 60_000);
    await using rf = await invoker({ node: socket });
    const lease = await rf.allocate<Effects>(EFFECTS, { slots: 128, polling: "warm" });
    await tellFile(lease, effects);
    let leftMs: number | undefined;
    const lost: string[] = [];
    lease.on("revoking", ({ deadline }) => (leftMs ??= deadline.getTime() - Date.now()));
    lease.on("lost", ({ message }) => lost.push(message));
    const all = callAll(lease, "effect", CALLS, CALL_MS);
    await until(() => effectsIn(effects).length > 0, "calls run");

    await slurm.batch(["--partition", "batch", "--ntasks", "2"], `: > ${ran}`);
    const outcomes = await all;
    expect(leftMs).toBeGreaterThan(0);
    expect(lost).toEqual([]);
    expect([outcomes.others, outcomes.mayHaveRun]).toEqual([[], []]);
    expect(outcomes.ran.length + outcomes.didNotRun.length).toBe(CALLS);
    expect(outcomes.ran.length).toBeGreaterThan(1);
    expect(effectsIn(effects).toSorted()).toEqual(outcomes.ran.toSorted());
    for (const { message } of outcomes.errors) expect(message).toEndWith("this call did not run");

    await lease.release();
    await until(() => existsSync(ended), "the node has ended by itself");
    expect(readFileSync(ended, "utf8")).toBe("0\n");
    await until(async () => !(await slurm.has(job)), "Slurm has the node back");
    await until(() => existsSync(ran), "the other job runs", 60_000);
  },
  180_000,
);
