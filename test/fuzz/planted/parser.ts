/** A parser with one bug of each kind that the fuzzer is to find. */
export function parse(input: Uint8Array): number {
  let value = 0;
  if (input[0] === 0x42)
    if (input[1] === 0x55)
      if (input[2] === 0x47) if (input[3] === 0x21) throw new TypeError("the planted bug");
  if (input[0] === 1) for (;;);
  if (input[0] === 2) for (let i = 0; i < 1e7; i++) value += i;
  if (input[0] === 3) process.kill(process.pid, "SIGKILL");
  return value;
}
