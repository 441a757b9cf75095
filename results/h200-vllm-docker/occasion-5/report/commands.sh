# The same question, measured anew:
python -m sparkray.sweep baseline --experiment h200-vllm-docker --site discrete-gpu-vllm --models Llama-3-8B-random --environments native,container_baseline --runs 2 --requests 80 --seed 12 --set 'docker.container_baseline.device=["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]'
# Engine options that were set on the command line are not stored: compare the command lines below.

# ---- native (chroot into the image's own files): how its engine was started
# Llama-3-8B-random
# As root. ROOTFS: the files of the image sparkray/host-files:b0bc20aa55428f51 (docker export of a container of it, unpacked);
# MODEL: the weights; IN: the run's inputs, of the dataset's inputs/; OUT, SCRATCH: two empty folders.
export ROOTFS MODEL IN OUT SCRATCH
: "${ROOTFS:?} ${MODEL:?} ${IN:?} ${OUT:?} ${SCRATCH:?}"
unshare --mount --propagation private sh -eu <<'END'
mount --bind "$ROOTFS" "$ROOTFS"
mount -t proc -o nosuid,nodev,noexec proc "$ROOTFS/proc"
mount --rbind /sys "$ROOTFS/sys"
mount --rbind /dev "$ROOTFS/dev"
mount --bind "$SCRATCH" "$ROOTFS/tmp"
mount -t tmpfs -o nosuid,nodev,mode=755,size=1m tmpfs "$ROOTFS/sparkray"
mkdir -p "$ROOTFS/sparkray/in" "$ROOTFS/sparkray/out"
mkdir -p "$ROOTFS"/sparkray/model
if [ -d "$MODEL" ]; then mkdir -p "$ROOTFS"/sparkray/model/Llama-3-8B-random; else : > "$ROOTFS"/sparkray/model/Llama-3-8B-random; fi
mount --bind "$MODEL" "$ROOTFS"/sparkray/model/Llama-3-8B-random
mount -o remount,bind,ro "$ROOTFS"/sparkray/model/Llama-3-8B-random
mount --bind "$IN" "$ROOTFS/sparkray/in"
mount -o remount,bind,ro "$ROOTFS/sparkray/in"
mount --bind "$OUT" "$ROOTFS/sparkray/out"
mount -o remount,bind,ro "$ROOTFS"
umask 0022
echo 0 > /proc/self/oom_score_adj
exec nice -n 0 prlimit --cpu=unlimited:unlimited --fsize=unlimited:unlimited --data=unlimited:unlimited --stack=67108864:67108864 --core=unlimited:unlimited --rss=unlimited:unlimited --nproc=515506:515506 --nofile=20000:20000 --memlock=unlimited:unlimited --as=unlimited:unlimited --sigpending=515506:515506 --msgqueue=819200:819200 --nice=0:0 --rtprio=0:0 --rttime=unlimited:unlimited taskset -c 0-$(($(nproc --all) - 1)) env -i CC=gcc CXX=g++ DO_NOT_TRACK=1 GLOO_SOCKET_IFNAME=lo HF_HUB_OFFLINE=1 HOME=/sparkray/cache/home HOSTNAME=vm LANG=C.UTF-8 LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/nvidia/lib NCCL_SOCKET_IFNAME=lo PATH=/opt/torch/.venv/bin:/opt/torch/.venv/bin:/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/gcc/bin:/usr/local/sbin:/usr/sbin:/sbin TORCHINDUCTOR_CACHE_DIR=/sparkray/cache/inductor TRANSFORMERS_OFFLINE=1 TRITON_CACHE_DIR=/sparkray/cache/triton VLLM_CACHE_ROOT=/sparkray/cache/vllm VLLM_HOST_IP=127.0.0.1 VLLM_NO_USAGE_STATS=1 VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_WORKER_MULTIPROC_METHOD=fork "$(command -v chroot)" "$ROOTFS" python3 -m vllm.entrypoints.cli.main bench latency --model /sparkray/model/Llama-3-8B-random --max-model-len 2048 --max-num-seqs 64 --no-enable-prefix-caching --dtype bfloat16 --gpu-memory-utilization 0.4 --max-num-batched-tokens 8192 --load-format dummy --tokenizer /sparkray/model/Llama-3-8B-random/tokenizer --seed 12 --input-len 128 --output-len 128 --batch-size 8 --num-iters-warmup 2 --num-iters 10 --output-json /sparkray/out/report.json
END
# sparkray also mounts the driver's libraries into the image's files, as Docker's toolkit does.

# ---- container with the baseline flags: how its engine was started
# Llama-3-8B-random
docker run --rm --name=sparkray-1555ab8bee66104d --ipc=host --ulimit=memlock=-1 --ulimit=stack=67108864 --device=/dev/nvidia0 --device=/dev/nvidiactl --device=/dev/nvidia-uvm --device=/dev/nvidia-uvm-tools --env=CC=gcc --env=CXX=g++ --env=DO_NOT_TRACK=1 --env=GLOO_SOCKET_IFNAME=lo --env=HF_HUB_OFFLINE=1 --env=HOME=/sparkray/cache/home --env=NCCL_SOCKET_IFNAME=lo --env=SPARKRAY_RUN=sparkray-1555ab8bee66104d --env=TORCHINDUCTOR_CACHE_DIR=/sparkray/cache/inductor --env=TRANSFORMERS_OFFLINE=1 --env=TRITON_CACHE_DIR=/sparkray/cache/triton --env=VLLM_CACHE_ROOT=/sparkray/cache/vllm --env=VLLM_HOST_IP=127.0.0.1 --env=VLLM_NO_USAGE_STATS=1 --env=VLLM_USE_FLASHINFER_SAMPLER=0 --env=VLLM_WORKER_MULTIPROC_METHOD=fork --volume=/root/w/cache/sparkray/random-models/Llama-3-8B-random:/sparkray/model/Llama-3-8B-random:ro --volume=/root/w/results/occasion-1/h200-vllm-docker/inputs/Llama-3-8B-random:/sparkray/in:ro --volume=/root/w/results/occasion-1/h200-vllm-docker/spool/1555ab8bee66104d-1/out:/sparkray/out --volume=/root/w/cache/sparkray/compiled/4c037a987f07a88b/shared:/sparkray/cache --volume=/opt:/opt:ro --volume=/usr:/usr:ro --label=io.sparkray.experiment=h200-vllm-docker --label=io.sparkray.run=1555ab8bee66104d --workdir=/ --entrypoint= sha256:3f0e853179ce020c78abf92e65df76558f25df2b8454517ac1e8b2e4f6a09524 python3 -m vllm.entrypoints.cli.main bench latency --model /sparkray/model/Llama-3-8B-random --max-model-len 2048 --max-num-seqs 64 --no-enable-prefix-caching --dtype bfloat16 --gpu-memory-utilization 0.4 --max-num-batched-tokens 8192 --load-format dummy --tokenizer /sparkray/model/Llama-3-8B-random/tokenizer --seed 12 --input-len 128 --output-len 128 --batch-size 8 --num-iters-warmup 2 --num-iters 10 --output-json /sparkray/out/report.json

