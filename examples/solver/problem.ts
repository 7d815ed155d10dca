/** The problem: -u_xx - u_yy = f on the unit square, u = 0 on its edge; with an f whose u is known. */

/** u(x, y) = g(x) h(y), with g(x) = exp(x) sin(pi x) and h(y) = y (1 - y). */
export function solution(x: number, y: number): number {
  return Math.exp(x) * Math.sin(Math.PI * x) * y * (1 - y);
}

/** f = -g'' h - g h''. */
export function rightSide(x: number, y: number): number {
  const { PI, exp, sin, cos } = Math;
  const g = exp(x) * sin(PI * x);
  const g2 = exp(x) * ((1 - PI ** 2) * sin(PI * x) + 2 * PI * cos(PI * x));
  return -g2 * y * (1 - y) + 2 * g;
}
