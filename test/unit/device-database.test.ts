import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EnvironmentError, UsageError } from "../../src/base/errors.ts";
import { fromDatabase, readDeviceDatabase } from "../../src/fabric/verbs/device-database.ts";
import { Scratch } from "../support/scratch.ts";

const RXE = {
  name: "rxe_eth0",
  ip_address: "172.31.82.200",
  port: 10000,
  max_inline_data: 0,
  default_receive_buffer_size: 32,
};
const MLX = {
  name: "mlx5_1",
  ip_address: "fd00::7",
  port: 0,
  max_inline_data: 220,
  default_receive_buffer_size: 64,
  netdev: "ens3f1np1",
};

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

const write = (content: unknown): string => scratch.file("devices.json", JSON.stringify(content));

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("readDeviceDatabase", () => {
  test("reads the devices in their order", () => {
    expect(readDeviceDatabase(write({ devices: [RXE, MLX] }))).toEqual([RXE, MLX]);
  });

  test("lets fields through that it does not know", () => {
    const path = write({
      devices: [{ ...RXE, numa_node: 1 }],
      configuration: { authentication_credential: 0 },
    });
    expect(readDeviceDatabase(path)).toMatchObject([RXE]);
  });

  test.each<[keyof typeof RXE, string]>([
    ["name", "must be the name of an RDMA device"],
    ["ip_address", "must be an IP address"],
    ["port", "must be a whole number"],
    ["max_inline_data", "must be a whole number"],
    ["default_receive_buffer_size", "must be a whole number"],
  ])("says that %s is missing", (field, message) => {
    const { [field]: _, ...device } = RXE;
    const path = write({ devices: [device] });
    const error = thrownBy(() => readDeviceDatabase(path)) as Error;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toStartWith(
      `the device database ${path} is wrong: devices[0].${field} ${message}`,
    );
    expect(error.message).toEndWith("and is missing; add it there");
  });

  test.each<[unknown, string]>([
    [
      { ...MLX, name: "" },
      'devices[1].name must be the name of an RDMA device such as mlx5_0 and is ""',
    ],
    [
      { ...MLX, ip_address: "10.0.0" },
      'devices[1].ip_address must be an IP address such as 10.0.0.1 and is "10.0.0"',
    ],
    [
      { ...MLX, ip_address: 10 },
      "devices[1].ip_address must be an IP address such as 10.0.0.1 and is 10",
    ],
    [
      { ...MLX, port: 65536 },
      "devices[1].port must be a whole number from 0 to 65535 and is 65536",
    ],
    [
      { ...MLX, port: "10000" },
      'devices[1].port must be a whole number from 0 to 65535 and is "10000"',
    ],
    [
      { ...MLX, max_inline_data: -1 },
      "devices[1].max_inline_data must be a whole number from 0 to 4294967295 and is -1",
    ],
    [
      { ...MLX, default_receive_buffer_size: 0 },
      "devices[1].default_receive_buffer_size must be a whole number from 1 to 4294967295 and is 0",
    ],
    [
      { ...MLX, netdev: 3 },
      "devices[1].netdev must be the name of a network interface such as eth0 and is 3",
    ],
    ["mlx5_1", 'devices[1] must be an object that describes a device and is "mlx5_1"'],
  ])("refuses %j: %s", (device, message) => {
    const path = write({ devices: [RXE, device] });
    const error = thrownBy(() => readDeviceDatabase(path)) as Error;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(
      `the device database ${path} is wrong: ${message}; correct it there`,
    );
  });

  test.each<[unknown, string]>([
    [{}, "devices must be a list of one device or more and is missing"],
    [{ devices: [] }, "devices must be a list of one device or more and is []"],
    [{ devices: RXE }, 'devices must be a list of one device or more and is {"name":"rxe_eth0"'],
    [[RXE], 'it must be an object such as {"devices": [...]} and is [{"name":"rxe_eth0"'],
    [null, 'it must be an object such as {"devices": [...]} and is null'],
  ])("refuses a file of %j", (content, message) => {
    const path = write(content);
    const error = thrownBy(() => readDeviceDatabase(path)) as Error;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toStartWith(`the device database ${path} is wrong: ${message}`);
    expect(error.message).toMatch(/; (add|correct) it there$/);
  });

  test("shows only the beginning of a long value", () => {
    const path = write({ devices: [{ ...RXE, ip_address: "x".repeat(100_000) }] });
    const error = thrownBy(() => readDeviceDatabase(path)) as Error;
    expect(error.message.length).toBeLessThan(path.length + 250);
  });

  test("says of a file that is no JSON what is wrong with it, and keeps the cause", () => {
    const path = scratch.file("devices.json", '{"devices": [');
    const error = thrownBy(() => readDeviceDatabase(path)) as Error;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toStartWith(`the device database ${path} is not JSON: `);
    expect(error.message).toEndWith("; correct it there");
    expect(error.cause).toBeInstanceOf(SyntaxError);
  });

  test("says of a file that cannot be read why, and keeps the cause", () => {
    for (const path of [scratch.join("missing.json"), scratch.path]) {
      const error = thrownBy(() => readDeviceDatabase(path)) as Error;
      expect(error).toBeInstanceOf(EnvironmentError);
      expect(error.message).toStartWith(`cannot read the device database ${path}: `);
      expect(error.message).toMatch(/\(E[A-Z]+\); name a readable file$/);
      expect(error.cause).toBeInstanceOf(Error);
    }
  });
});

describe("fromDatabase", () => {
  test("is the first device when none is named", () => {
    expect(fromDatabase([RXE, MLX])).toEqual({
      device: "rxe_eth0",
      address: "172.31.82.200",
      maxInline: 0,
      port: 10000,
      receiveDepth: 32,
    });
  });

  test("is the device of the name", () => {
    expect(fromDatabase([RXE, MLX], "mlx5_1")).toEqual({
      device: "mlx5_1",
      address: "fd00::7",
      maxInline: 220,
      port: 0,
      receiveDepth: 64,
    });
  });

  test("lists the devices there are when the name is not among them", () => {
    expect(() => fromDatabase([RXE, MLX], "mlx5_9")).toThrow(UsageError);
    expect(() => fromDatabase([RXE, MLX], "mlx5_9")).toThrow(
      "has no device mlx5_9; choose one of rxe_eth0, mlx5_1, or add it",
    );
  });

  test("says that there is nothing to choose from", () => {
    expect(() => fromDatabase([])).toThrow(UsageError);
    expect(() => fromDatabase([], "mlx5_0")).toThrow("is empty; add a device to it");
  });
});
