data {
  int N;
  int D;
  matrix[N, D] x;
  array[N] int y;
}
parameters {
  real alpha;
  vector[D] beta;
}
model {
  alpha ~ std_normal();
  beta ~ std_normal();
  y ~ bernoulli_logit_glm(x, alpha, beta);
}
