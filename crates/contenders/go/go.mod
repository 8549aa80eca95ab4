module roadstead/contenders/go

go 1.19
