/**
 * A small virtual machine with a SoftRoCE device, for tests: this machine's /usr and this repository, read-only, under a kernel
 * that has RDMA. It ends with the object, and with the process that has started it.
 *
 *     await using guest = await Guest.boot({ name: "alone" });
 *     const { exitCode, output } = await guest.run("ibv_devices");
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cable } from "./cable.ts";
import {
  Commands,
  type Finished,
  type GuestProcess,
  type RunOptions,
  type StartOptions,
} from "./commands.ts";
import { type Kernel, prepareKernel } from "./kernel.ts";
import { preparePackages, program } from "./packages.ts";
import { Qmp } from "./qmp.ts";

const BOOT_LIMIT_MS = 120_000;
const POWER_OFF_LIMIT_MS = 5_000;

export interface BootOptions {
  /** Its host name, and what errors call it: letters, digits and hyphens. */
  name: string;
  /** The last number of its addresses, 10.77.0.<number> and fd77::<number>; 1 unless told. */
  number?: number;
  /** An end of the cable to another guest; without one, the guest's network has nobody else in it. */
  cableEnd?: number;
  memoryMiB?: number;
  cpus?: number;
}

export class Guest implements AsyncDisposable {
  readonly name: string;
  readonly address: string;
  readonly address6: string;
  /** What the console has shown: the kernel, the init, the agent. */
  console = "";
  /** Resolves when the guest has ended, for whatever reason. */
  readonly ended: Promise<void>;

  readonly #folder = mkdtempSync(join(tmpdir(), "guest-"));
  readonly #qmp = new Qmp(join(this.#folder, "qmp"));
  readonly #commands = new Commands(join(this.#folder, "agent"));
  readonly #qemu: Bun.Subprocess<"ignore", "pipe", "pipe">;

  /** Boots a guest; resolves when it takes commands. */
  static async boot(options: BootOptions): Promise<Guest> {
    await preparePackages(console.error);
    const guest = new Guest(options, await prepareKernel(console.error));
    const timer = setTimeout(() => {
      guest.console += `not ready after ${BOOT_LIMIT_MS} ms, and killed\n`;
      void guest.kill();
    }, BOOT_LIMIT_MS);
    try {
      await guest.#commands.ready;
      return guest;
    } finally {
      clearTimeout(timer);
    }
  }

  private constructor(options: BootOptions, kernel: Kernel) {
    const { name, number = 1, cableEnd } = options;
    this.name = name;
    this.address = `10.77.0.${number}`;
    this.address6 = `fd77::${number}`;
    // A test that is killed takes QEMU with it.
    const words = [program("setpriv"), "--pdeathsig", "KILL", ...this.#words(options, kernel)];
    this.#qemu = Bun.spawn(words, {
      stdio: ["ignore", "pipe", "pipe", ...(cableEnd === undefined ? [] : [cableEnd])],
    }) as Bun.Subprocess<"ignore", "pipe", "pipe">;
    this.ended = this.#follow();
  }

  /** Of QEMU, on this machine. */
  get pid(): number {
    return this.#qemu.pid;
  }

  /** Runs a command of bash in the repository's folder, to its end; several may run at a time. */
  run(command: string, options: RunOptions = {}): Promise<Finished> {
    return this.#commands.run(command, options);
  }

  /** Starts a command of bash in the repository's folder and leaves it running. */
  start(command: string, options: StartOptions = {}): GuestProcess {
    return this.#commands.start(command, options);
  }

  /** Plugs the cable of eth0 in, or pulls it. */
  setLink(up: boolean): Promise<void> {
    return this.#qmp.execute("set_link", { name: "eth0", up });
  }

  /** Ends it at once, as a loss of power does. */
  kill(): Promise<void> {
    this.#qemu.kill("SIGKILL");
    return this.ended;
  }

  /** Powers it off. */
  async close(): Promise<void> {
    this.#commands.hangUp();
    const timer = setTimeout(() => this.#qemu.kill("SIGKILL"), POWER_OFF_LIMIT_MS);
    await this.ended;
    clearTimeout(timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Keeps the console, and cleans up when QEMU has ended. */
  async #follow(): Promise<void> {
    const keep = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      const decoder = new TextDecoder();
      for await (const bytes of stream) this.console += decoder.decode(bytes, { stream: true });
    };
    await Promise.all([keep(this.#qemu.stdout), keep(this.#qemu.stderr), this.#qemu.exited]);
    const reason = new Error(`guest "${this.name}" has ended; its console:\n${this.console}`);
    this.#commands.end(reason);
    this.#qmp.end(reason);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #words(
    { number = 1, cableEnd, memoryMiB = 2048, cpus = 2 }: BootOptions,
    kernel: Kernel,
  ): string[] {
    const append = [
      "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off",
      // Code at the same addresses need not be translated anew for each process: a tenth of the suite's time.
      "norandmaps",
      // Else a look at the clock is a look at an emulated HPET, for more than a microsecond.
      "tsc=reliable clocksource=tsc",
      `guest.name=${this.name} guest.number=${number}`,
    ];
    return [
      program("qemu-system-x86_64"),
      // Translation works everywhere; under KVM a stock kernel hangs where the host is itself a small virtual machine.
      ...["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"],
      ...["-smp", `${cpus}`, "-m", `${memoryMiB}`, "-nodefaults", "-display", "none", "-no-reboot"],
      ...["-kernel", kernel.image, "-initrd", kernel.initramfs, "-append", append.join(" ")],
      ...["-serial", "stdio", "-qmp", `unix:${join(this.#folder, "qmp")}`],
      ...["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"],
      ...["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"],
      ...["-chardev", `socket,id=agent,path=${join(this.#folder, "agent")}`],
      ...["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"],
      ...["-netdev", `${cableEnd === undefined ? "hubport,hubid=0" : "socket,fd=3"},id=network`],
      ...[
        "-device",
        `virtio-net-pci,id=eth0,netdev=network,romfile=,mac=52:54:00:77:00:${hex(number)}`,
      ],
    ];
  }
}

/** Boots two guests with a cable between them; they have the numbers 1 and 2. */
export async function twoGuests(
  options: Omit<BootOptions, "name" | "number" | "cableEnd"> = {},
): Promise<[Guest, Guest]> {
  using cable = new Cable();
  const [one, two] = await Promise.allSettled([
    Guest.boot({ ...options, name: "one", number: 1, cableEnd: cable.ends[0] }),
    Guest.boot({ ...options, name: "two", number: 2, cableEnd: cable.ends[1] }),
  ]);
  if (one.status === "fulfilled" && two.status === "fulfilled") return [one.value, two.value];
  for (const boot of [one, two]) if (boot.status === "fulfilled") await boot.value.kill();
  throw one.status === "rejected" ? one.reason : (two as PromiseRejectedResult).reason;
}

const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
