/** A Slurm cluster of this machine alone, real, in a folder of its own and at ports of its own. Needs root, whose jobs it runs. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { descendants } from "./processes.ts";
import { Scratch } from "./scratch.ts";
import { until } from "./until.ts";

const PATH = `${process.env["PATH"]}:/usr/local/sbin:/usr/sbin:/sbin`;
const PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue"];

/** Why there is none here; undefined where one can be started. */
export function whyNoSlurm(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can run jobs of Slurm";
  const missing = PROGRAMS.filter((name) => !Bun.which(name, { PATH }));
  return missing.length === 0
    ? undefined
    : `no ${missing.join(", ")}; run: apt-get install slurm-wlm munge`;
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

export class Slurm implements AsyncDisposable {
  readonly #scratch = new Scratch();
  readonly #daemons: Bun.Subprocess[] = [];

  /** Its partition `idle` is preempted by jobs of `batch`, and has `graceSeconds` then. */
  static async start(graceSeconds: number): Promise<Slurm> {
    const slurm = new Slurm();
    try {
      await slurm.#start(graceSeconds);
      return slurm;
    } catch (error) {
      await slurm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A path in its folder. */
  join(name: string): string {
    return this.#scratch.join(name);
  }

  /** Queues a script of sh, with options of sbatch. Returns the job's number. */
  async batch(options: readonly string[], script: string): Promise<string> {
    const file = this.#scratch.file(`job-${crypto.randomUUID()}`, `#!/bin/sh\n${script}\n`);
    return (await this.#ask("sbatch", ["--parsable", ...options, file])).trim();
  }

  /** Whether a job is queued or runs. */
  async has(job: string): Promise<boolean> {
    return (await this.#ask("squeue", ["--noheader", "--format", "%A"])).split("\n").includes(job);
  }

  /** Ends all jobs, then the daemons, and removes the folder when none of their processes is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ask("scancel", ["--full", "--signal", "KILL", "--user", "root"]).catch(() => {});
    await until(() => this.#processes().every((pid) => this.#isOwn(pid)), "all jobs have ended");
    for (const daemon of this.#daemons.toReversed()) {
      daemon.kill("SIGTERM");
      const overdue = setTimeout(() => daemon.kill("SIGKILL"), 10_000);
      await daemon.exited;
      clearTimeout(overdue);
    }
    await until(() => this.#processes().length === 0, "no process of it is left");
    this.#scratch[Symbol.dispose]();
  }

  async #start(graceSeconds: number): Promise<void> {
    const { path } = this.#scratch;
    // The daemon that vouches for users refuses folders that others may change.
    chmodSync(path, 0o711);
    for (const name of ["state", "spool", "log"]) mkdirSync(this.join(name));
    writeFileSync(this.join("key"), crypto.getRandomValues(new Uint8Array(128)), { mode: 0o400 });
    writeFileSync(this.join("slurm.conf"), this.#configuration(graceSeconds));
    const socket = this.join("munge");
    this.#daemon("munged", [
      ...["--foreground", `--socket=${socket}`, `--key-file=${this.join("key")}`],
      ...[`--pid-file=${this.join("munge.pid")}`, `--seed-file=${this.join("seed")}`],
      `--log-file=${this.join("log/munged")}`,
    ]);
    await until(() => existsSync(socket), "munged listens");
    const node = hostname().split(".")[0]!;
    this.#daemon("slurmctld", ["-D", "-f", this.join("slurm.conf")]);
    this.#daemon("slurmd", ["-D", "-f", this.join("slurm.conf"), "-N", node]);
    const states = () => this.#ask("sinfo", ["--noheader", "--format", "%T"]).catch(() => "");
    await until(async () => /^idle/.test(await states()), "the node of Slurm is idle");
  }

  #configuration(graceSeconds: number): string {
    const node = hostname().split(".")[0]!;
    return `ClusterName=rfaas-test
SlurmctldHost=${node}(127.0.0.1)
SlurmctldPort=${freePort()}
SlurmdPort=${freePort()}
AuthType=auth/munge
AuthInfo=socket=${this.join("munge")}
SlurmUser=root
SlurmdUser=root
StateSaveLocation=${this.join("state")}
SlurmdSpoolDir=${this.join("spool")}
SlurmctldLogFile=${this.join("log/slurmctld")}
SlurmdLogFile=${this.join("log/slurmd")}
SlurmctldPidFile=${this.join("slurmctld.pid")}
SlurmdPidFile=${this.join("slurmd.pid")}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=5
NodeName=${node} NodeAddr=127.0.0.1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=1000 State=UNKNOWN
PartitionName=idle Nodes=${node} PriorityTier=1 GraceTime=${graceSeconds} PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=batch Nodes=${node} Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
`;
  }

  #environment(): Record<string, string | undefined> {
    return { ...process.env, PATH, SLURM_CONF: this.join("slurm.conf") };
  }

  #daemon(name: string, args: readonly string[]): void {
    const out = Bun.file(this.join(`log/${name}.out`));
    const env = this.#environment();
    const command = [Bun.which(name, { PATH })!, ...args];
    this.#daemons.push(Bun.spawn(command, { stdio: ["ignore", out, out], env, cwd: "/" }));
  }

  async #ask(program: string, args: readonly string[]): Promise<string> {
    const child = Bun.spawn([Bun.which(program, { PATH })!, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: this.#environment(),
      cwd: this.#scratch.path,
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(`${program} failed: ${stderr}`);
    return stdout;
  }

  /** What has its folder in its environment: daemons, jobs, and what these have started. */
  #processes(): number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((name) => {
        try {
          return readFileSync(`/proc/${name}/environ`, "latin1").includes(this.#scratch.path);
        } catch {
          return false;
        }
      })
      .map(Number);
  }

  /** A daemon, or what one has started for itself. */
  #isOwn(pid: number): boolean {
    return this.#daemons.some(
      (daemon) => pid === daemon.pid || descendants(daemon.pid).includes(pid),
    );
  }
}
